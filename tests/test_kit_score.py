"""The number of faulty stores that the kit publishes is the number that its tests catch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from storycore.ports.lifecycle import PortName
from storycore.testing.score import FAULTY_STORES

HERE = Path(__file__).parent
FILES = {
    PortName.ENTITIES: "entit*",
    PortName.CACHE: "cache",
    PortName.VECTORS: "vectors*",
    PortName.BLOBS: "blobs",
    PortName.EVENTS: "events",
    PortName.EMBEDDER: "embedder",
    PortName.RERANKER: "reranker",
}
"""Port to the names of its files behind ``test_kit_catches_faulty_``."""


def loaded(file: Path) -> ModuleType:
    """The module of a test file."""
    spec = importlib.util.spec_from_file_location(f"counted_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faulty(module: ModuleType) -> set[str]:
    """The names of the faulty stores that a module tries, in whichever list it keeps them."""
    lists = (getattr(module, name, ()) for name in ("CAUGHT_BY", "CAUGHT_BY_AGREEMENT", "FAULTS", "FAULTY"))
    return {store.__name__ for each in lists if isinstance(each, list | dict) for store in each}


@pytest.mark.parametrize("port", PortName, ids=str)
def test_the_published_number_is_the_true_one(port: PortName) -> None:
    """Every faulty store of a port is counted once."""
    files = sorted(HERE.glob(f"test_kit_catches_faulty_{FILES[port]}.py"))
    assert sum(len(faulty(loaded(file))) for file in files) == FAULTY_STORES[port]


def test_every_port_has_its_faulty_stores() -> None:
    """No suite goes untried, and entities and vectors, which promise most, are tried most."""
    assert set(FAULTY_STORES) == set(PortName)
    assert all(number >= 15 for number in FAULTY_STORES.values())
    assert {*sorted(FAULTY_STORES, key=lambda port: FAULTY_STORES[port])[-2:]} == {PortName.ENTITIES, PortName.VECTORS}
