"""Starting is cheap: nothing heavy is imported before it is used."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import storycore
from storycore.ports.lifecycle import PortName

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    *("boto3", "botocore", "redis", "pinecone", "diskcache", "faiss", "numpy", "onnxruntime", "tokenizers"),
    *("pytest", "hypothesis", "rich", "asyncio", "pydantic", "orjson"),
}
UNUSED = {"faiss", "numpy", "onnxruntime", "tokenizers", "rich", "boto3", "redis"}
PLUGINS = {path.name for path in ROOT.glob("adapters/*/storycore_*")}


def imported(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has imported after a statement."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def startup() -> ModuleType:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("startup", ROOT / "benchmarks" / "startup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing_storycore_imports_nothing_heavy() -> None:
    """No vendor library, no test tool, no plugin: the names of the package are imported when they are first used."""
    assert imported("import storycore") & (HEAVY | PLUGINS) == set()


def test_the_help_imports_nothing_heavy() -> None:
    """The list of commands costs click and nothing else."""
    assert imported("from storycore.cli.program import run; run(['--help'])") & (HEAVY | PLUGINS) == set()


def test_opening_the_memory_profile_imports_no_vendor_library() -> None:
    """A store imports the adapters of its profile, and no other plugin's."""
    vendors = HEAVY - {"asyncio", "pydantic", "orjson"}
    use = "import storycore\nwith storycore.open_sync('memory') as store: store.users.find('nobody')"
    assert imported(use) & (vendors | PLUGINS) == set()


def test_a_store_that_ingests_nothing_imports_nothing_of_ingestion() -> None:
    """It takes a fifth of the time that a small command takes."""
    script = "import storycore.app, sys; print('storycore.ingestion' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def modules_of(statement: str) -> set[str]:
    """All modules that a fresh Python has imported after a statement, by their full names."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


async def _provide(folder: Path) -> None:
    """The files of a laptop's entities, cache and blobs."""
    async with storycore.open("local", dir=folder) as store:
        for port in (PortName.ENTITIES, PortName.CACHE, PortName.BLOBS):
            await store.ports[port].ensure()


def test_a_read_on_a_laptop_imports_only_what_it_uses(tmp_path: Path) -> None:
    """No vectors, no model, no search, no backups: what nobody asked for stays where it is."""
    asyncio.run(_provide(tmp_path))
    opened = f"import storycore\nwith storycore.open_sync('local', dir={str(tmp_path)!r}) as store"
    used = modules_of(f"{opened}: store.users.find('nobody')")
    assert "storycore_sqlite.entities" in used
    assert used & (UNUSED | {"cryptography"}) == set()
    rooms = ("backup", "search", "jobs", "health", "infrastructure", "ingestion")
    assert {name for name in used if name.startswith(tuple(f"storycore.{room}" for room in rooms))} == set()


def test_listing_backups_imports_neither_vectors_nor_a_model(tmp_path: Path) -> None:
    """The profile has both, and the command reads blobs."""
    asyncio.run(_provide(tmp_path))
    command = ["backup", "list", "--json", "--dir", str(tmp_path)]
    used = modules_of(f"from storycore.cli.program import run; assert run({command!r}) == 0")
    assert "storycore.backup.service" in used
    assert used & UNUSED == set()
    rooms = ("search", "jobs", "health", "infrastructure", "ingestion")
    assert {name for name in used if name.startswith(tuple(f"storycore.{room}" for room in rooms))} == set()


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_a_plugin_module_imports_no_vendor_library(plugin: str) -> None:
    """`storycore plugins` may load every plugin there is, so that each has to be light."""
    vendors = HEAVY - {"asyncio", "pydantic", "orjson"}
    assert imported(f"import {plugin}") & vendors == set()


def test_starting_takes_little_more_than_a_bare_click_program() -> None:
    """A guard against a heavy import, loose because the machine may be busy; benchmarks/startup.py measures."""
    benchmark = startup()
    least = benchmark.least(benchmark.SMALL, rounds=5)
    assert least["import storycore"] - least["python"] < 0.15
    assert least["storycore --help"] / least["bare --help"] < 1.5
