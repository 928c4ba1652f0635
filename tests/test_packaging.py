"""The distributions fit together: one version, one range, every adapter entered everywhere it has to be."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.plugins import Plugins

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = sorted(path.parent.name for path in ROOT.glob("adapters/*/pyproject.toml"))


def pyproject(folder: str = ".") -> dict[str, Any]:  # TOML of any shape
    """The parsed pyproject.toml of a folder of the repository."""
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """The files that git tracks; outside a checkout there are none to look at."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: nothing is tracked")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_there_are_adapters() -> None:
    """The tests below look at something."""
    assert {"sqlite", "diskcache", "faiss", "files", "minilm"} <= set(ADAPTERS)


def test_the_package_knows_its_version() -> None:
    """``storycore.__version__`` is what the distribution says, without looking it up."""
    assert storycore.__version__ == pyproject()["project"]["version"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_has_the_version_of_the_core(adapter: str) -> None:
    """All distributions are released in lockstep."""
    assert pyproject()["project"]["version"] == pyproject(f"adapters/{adapter}")["project"]["version"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_accepts_exactly_the_present_minor_of_the_core(adapter: str) -> None:
    """While the version is 0.x a minor release may break an adapter, so its range ends before the next one."""
    major, minor, _ = pyproject()["project"]["version"].split(".")
    wanted = f"storycore>={major}.{minor},<{major}.{int(minor) + 1}"
    assert wanted in pyproject(f"adapters/{adapter}")["project"]["dependencies"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_entered_everywhere(adapter: str) -> None:
    """Members, sources, extra, group: an adapter that is missing in one of them is silently not installed or tested."""
    root, name = pyproject(), f"storycore-{adapter}"
    uv = root["tool"]["uv"]
    assert f"adapters/{adapter}" in uv["workspace"]["members"]
    assert uv["sources"][name] == {"workspace": True}
    assert root["project"]["optional-dependencies"][adapter] == [name]
    assert name in root["dependency-groups"]["adapters"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_has_the_same_shape_as_its_siblings(adapter: str) -> None:
    """Names follow from the folder's name; the entry point names the package, which carries py.typed and a licence."""
    folder, package = ROOT / "adapters" / adapter, f"storycore_{adapter}"
    project = pyproject(f"adapters/{adapter}")
    assert project["project"]["name"] == f"storycore-{adapter}"
    assert project["project"]["license"] == "Apache-2.0"
    assert project["project"]["entry-points"]["storycore.adapters"] == {adapter: package}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [package]
    assert (folder / package / "py.typed").exists()
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# storycore-{adapter}\n")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_server_of_an_adapter_is_installed_by_its_extra(adapter: str) -> None:
    """What its tests need beside its own dependencies is in ``[testing]``, together with the kit, and in our tests."""
    needed = pyproject(f"adapters/{adapter}")["project"].get("optional-dependencies", {}).get("testing", [])
    if Plugins().adapter(adapter).server is not None:
        assert "storycore[testing]" in needed
    assert {line for line in needed if line != "storycore[testing]"} <= set(pyproject()["dependency-groups"]["test"])


def test_the_local_extra_holds_every_adapter_that_needs_no_service() -> None:
    """``storycore[local]`` gives the whole built-in profile ``local``, and its backups."""
    local = pyproject()["project"]["optional-dependencies"]["local"]
    assert local == ["storycore[sqlite,diskcache,faiss,files,minilm,backup]"]


def test_adapters_is_not_a_package() -> None:
    """An importable package ``adapters`` would shadow the distribution of that name on PyPI."""
    assert not (ROOT / "adapters" / "__init__.py").exists()


def test_no_test_folder_is_a_package() -> None:
    """Test modules of equal names in several folders need plain folders and ``--import-mode=importlib``."""
    assert [*ROOT.glob("tests/**/__init__.py"), *ROOT.glob("adapters/*/tests/**/__init__.py")] == []


def test_every_dependency_is_pinned_exactly() -> None:
    """Without a lock file the constraints alone make two installations equal."""
    uv = pyproject()["tool"]["uv"]
    pins = [*uv["constraint-dependencies"], *uv["build-constraint-dependencies"]]
    names = {re.split(r"==", pin)[0] for pin in pins}
    declared = [pyproject()["project"]["dependencies"], *pyproject()["project"]["optional-dependencies"].values()]
    projects = [pyproject(f"adapters/{adapter}")["project"] for adapter in ADAPTERS]
    declared += [project["dependencies"] for project in projects]
    declared += [extra for project in projects for extra in project.get("optional-dependencies", {}).values()]
    wanted = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for lines in declared for line in lines}  # type: ignore[index]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+( ; .+)?", pin)] == []
    assert set() == {name for name in wanted if not name.startswith("storycore")} - names


def test_no_lock_file_and_no_index_host_is_tracked() -> None:
    """What is tracked says nothing about the machine or the package index on which it was made."""
    host = re.compile(rb"(index-url|find-links|\[\[tool\.uv\.index\]\]|https?://[^\s/]+/(simple|packages)/)")
    allowed = {ROOT / "scripts" / "check", Path(__file__).resolve()}
    files = [path for path in tracked() if path.is_file()]
    assert [path for path in files if path.name in {"uv.lock", "poetry.lock", "Pipfile.lock", ".python-version"}] == []
    assert [path for path in files if path not in allowed and host.search(path.read_bytes())] == []
