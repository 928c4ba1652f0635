"""One run of the conformance kit over one adapter, in its own process: even a crash of the adapter is a result."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storycore.errors import ConfigError, StorycoreError
from storycore.ports.lifecycle import PortName

__all__ = ["SUITES", "demand_kit", "prove"]

SUITES = {
    PortName.ENTITIES: ("storycore.testing.entities", "EntityStoreSuite"),
    PortName.CACHE: ("storycore.testing.cache", "CacheSuite"),
    PortName.VECTORS: ("storycore.testing.vectors", "VectorIndexSuite"),
    PortName.BLOBS: ("storycore.testing.blobs", "BlobStoreSuite"),
    PortName.EVENTS: ("storycore.testing.events", "EventSinkSuite"),
    PortName.EMBEDDER: ("storycore.testing.embeddings", "EmbedderSuite"),
    PortName.RERANKER: ("storycore.testing.reranking", "RerankerSuite"),
}
"""Port to the suite that proves it."""

_NEEDS = ("pytest", "pytest_asyncio", "hypothesis")
_SETTINGS = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
_TEST = '''from {module} import {suite}


class TestConformance({suite}):
    """{adapter} keeps the contract of {port}."""

{attributes}'''
_PYTEST_RAN = (0, 1)
_TAIL_CHARS = 3000


def demand_kit() -> None:
    """Raise ``ConfigError`` with the install line unless everything that the kit needs is installed."""
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The conformance kit needs {', '.join(missing)}. Install it with: pip install 'storycore[testing]'"
        )


def prove(
    port: PortName, adapter: str, options: Mapping[str, object], *, steps: int | None = None, emulator: str = ""
) -> dict[str, Any]:
    """Run the suite of ``port`` over an installed adapter and return the kit's report.

    Args:
        port: which suite.
        adapter: the name of an installed adapter.
        options: its settings.
        steps: how long the random trace over an entity store is; ``None``: as long as the suite says.
        emulator: ``"own"`` where the settings lead to the server that the adapter brings.

    Raises:
        StorycoreError: the run ended without a report; the message holds the end of what it printed.
    """
    attributes = {"adapter": adapter, "options": dict(options), "serve": False, "emulator": emulator}
    if steps is not None:
        attributes["trace_steps"] = steps
    with tempfile.TemporaryDirectory(prefix="storycore-kit-", ignore_cleanup_errors=True) as folder:
        return _flat(_ran(port, attributes, Path(folder)), port, adapter)


def _ran(port: PortName, attributes: Mapping[str, object], place: Path) -> dict[str, Any]:
    """Write the test, run it, and return what the report plugin wrote."""
    module, suite = SUITES[port]
    lines = "".join(f"    {name} = {value!r}\n" for name, value in attributes.items())
    named = {"module": module, "suite": suite, "adapter": attributes["adapter"], "port": str(port)}
    test = _TEST.format(**named, attributes=lines)
    (place / "test_conformance.py").write_text(test, encoding="utf-8")
    (place / "pytest.ini").write_text(_SETTINGS, encoding="utf-8")
    done = _pytest(place)
    report = place / "report.json"
    if done.returncode not in _PYTEST_RAN or not report.exists():
        raise StorycoreError(
            f"The kit could not run to its end (exit status {done.returncode}):\n{done.stdout[-_TAIL_CHARS:]}"
        )
    content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return content


def _pytest(place: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest in ``place``, which it also takes for its temporary files; options of the caller's shell stay out."""
    command = [
        *(sys.executable, "-m", "pytest", "test_conformance.py", "--rootdir", str(place), "-c", "pytest.ini"),
        *("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--basetemp", str(place / "data")),
        *("-p", "storycore.testing.report", "--storycore-report", str(place / "report.json")),
    ]
    environ = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
        command, cwd=place, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def _flat(content: dict[str, Any], port: PortName, adapter: str) -> dict[str, Any]:
    """The one report of the run, with what is known of the run itself."""
    report = content["reports"][0] if content["reports"] else {"counts": {"passed": 0, "failed": 0, "skipped": 0}}
    held = bool(report["counts"]["passed"]) and not report["counts"]["failed"] and not content["broken"]
    about = {name: content[name] for name in ("kit", "python", "platform")}
    return {"adapter": adapter, "port": str(port), "held": held, **about, **report, "broken": content["broken"]}
