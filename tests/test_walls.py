"""The import walls hold, and a wall that is broken is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BROKEN = {
    "a port that knows the plugins": ("storycore/ports/wall.py", "import storycore.plugins", "rooms import inward"),
    "entities that know the commands": ("storycore/entities/wall.py", "import storycore.cli", "rooms import inward"),
    "a room without a place": ("storycore/cellar/__init__.py", "", "rooms import inward"),
    "a core that knows the kit": ("storycore/caching/wall.py", "import storycore.testing.clock", "conformance kit"),
    "a core that knows a vendor": ("storycore/memory/wall.py", "import numpy", "no vendor library"),
    "a core that knows an adapter": ("storycore/search/wall.py", "import storycore_faiss", "no vendor library"),
    "an adapter that knows the core": ("storycore_sqlite/wall.py", "import storycore.entities", "adapters know"),
    "an adapter that knows the kit": ("storycore_files/wall.py", "import storycore.testing", "adapters know"),
    "an adapter that knows another": ("storycore_sqlite/wall.py", "import storycore_faiss", "each other"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all packages and of the contracts."""
    root = tmp_path_factory.mktemp("walls")
    packages = [ROOT / "storycore", *ROOT.glob("adapters/*/storycore_*")]
    for package in packages:
        shutil.copytree(package, root / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@contextmanager
def module(path: Path, line: str) -> Iterator[None]:
    """One more module of one line, with the folder it needs, for as long as the block lasts."""
    added = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{line}\n", encoding="utf-8")
    try:
        yield
    finally:
        path.unlink()
        if added:
            path.parent.rmdir()


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of ``root`` over the packages of ``root``."""
    script = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", script, "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_walls_hold(copy: Path) -> None:
    """The code as it is breaks no contract."""
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_wall_is_seen(copy: Path, case: str) -> None:
    """A forbidden import fails the contract that forbids it."""
    path, line, contract = BROKEN[case]
    with module(copy / path, line):
        done = lint_imports(copy)
    failed = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert done.returncode != 0
    assert any(contract in line for line in failed), done.stdout + done.stderr


def test_every_adapter_stands_behind_the_walls() -> None:
    """Each adapter of the workspace is a root package and is named in every contract about adapters."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    adapters = {path.name for path in ROOT.glob("adapters/*/storycore_*")}
    assert {"storycore", *adapters} == set(settings["root_packages"])
    for contract in settings["contracts"]:
        listed = {
            *contract.get("source_modules", ()),
            *contract.get("forbidden_modules", ()),
            *contract.get("modules", ()),
        }
        if any(name in adapters for name in listed):
            assert adapters <= listed, contract["name"]
