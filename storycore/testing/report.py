"""A pytest plugin that writes down what was proved: ``pytest -p storycore.testing.report --storycore-report FILE``.

The file is one JSON document with one report per test class: which adapter and port, what it claims, and each
contract sentence as proved, failed, or not claimed; how much was tried (steps of machines, kills, cancelled calls);
and how many faulty stores the port's suite is known to catch.
"""

from __future__ import annotations

import inspect
import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from storycore.testing.harness import Harness
from storycore.testing.score import FAULTY_STORES

__all__ = ["pytest_addoption", "pytest_configure"]

_NOT_CLAIMED = "not claimed: "
_DETAIL_CHARS = 2000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--storycore-report", metavar="FILE", default=None, help="write what was proved as JSON to FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Record the run when a file was named."""
    file = config.getoption("--storycore-report")
    if file:
        config.pluginmanager.register(_Recorder(Path(file)), "storycore-report-recorder")


@dataclass
class _Sentence:
    """What became of one test function: its docstring, and the outcomes of its examples."""

    text: str
    test: str
    passed: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass
class _Class:
    """What is known of one test class."""

    about: dict[str, object] = field(default_factory=dict)
    measured: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, _Sentence] = field(default_factory=dict)


class _Recorder:
    """Listens to a run and writes the file at its end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._classes: dict[str, _Class] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._broken: list[str] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note which sentence a test stands for."""
        name = item.parent.nodeid if item.parent else ""
        function = getattr(item, "originalname", None) or item.name
        self._places[item.nodeid] = (name, function)
        recorded = self._classes.setdefault(name, _Class())
        recorded.sentences.setdefault(function, _Sentence(_sentence(item), function))

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Note which adapter is tested, from the first test that has a harness."""
        harness = getattr(item, "funcargs", {}).get("harness")
        recorded = self._classes[self._places[item.nodeid][0]]
        if isinstance(harness, Harness) and not recorded.about:
            recorded.about = _about(harness)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Add up what a test counted in its harness, or as whole numbers with ``record_property``."""
        measured = self._classes[self._places[item.nodeid][0]].measured
        harness = getattr(item, "funcargs", {}).get("harness")
        if isinstance(harness, Harness):
            measured.update(harness.counts)
        measured.update({name: number for name, number in item.user_properties if isinstance(number, int)})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome; an error in setting up or tearing down counts as a failure."""
        name, function = self._places[report.nodeid]
        sentence = self._classes[name].sentences[function]
        if report.failed:
            sentence.failed.append(_detail(report))
        elif report.skipped:
            sentence.skipped.append(_reason(report))
        elif report.when == "call":
            sentence.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not even be collected."""
        if report.failed:
            self._broken.append(f"{report.nodeid}: {str(report.longrepr)[-_DETAIL_CHARS:]}")

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        content = {
            "kit": _version("storycore"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "broken": self._broken,
            "reports": [_written(name, recorded) for name, recorded in self._classes.items()],
        }
        self._file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _written(name: str, recorded: _Class) -> dict[str, object]:
    sentences = list(recorded.sentences.values())
    skips = [(each.text, reason) for each in sentences for reason in dict.fromkeys(each.skipped)]
    return {
        "suite": name,
        **recorded.about,
        "counts": {
            "passed": sum(each.passed for each in sentences),
            "failed": sum(len(each.failed) for each in sentences),
            "skipped": sum(len(each.skipped) for each in sentences),
        },
        "measured": dict(recorded.measured),
        "proved": [each.text for each in sentences if each.passed and not each.failed],
        "failed": [{"sentence": e.text, "test": e.test, "detail": d} for e in sentences for d in e.failed],
        "not_claimed": [
            {"sentence": text, "feature": reason.removeprefix(_NOT_CLAIMED)}
            for text, reason in skips
            if reason.startswith(_NOT_CLAIMED)
        ],
        "skipped": [{"sentence": text, "reason": why} for text, why in skips if not why.startswith(_NOT_CLAIMED)],
    }


def _about(harness: Harness) -> dict[str, object]:
    """The adapter under test, and what it claims before it is opened."""
    spec = harness.spec
    return {
        "adapter": spec.name,
        "distribution": spec.distribution,
        "version": _version(spec.distribution),
        "port": str(harness.port),
        "faulty_stores_caught": FAULTY_STORES[harness.port],
        "capabilities": asdict(harness.make().capabilities),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):
        return ""


def _sentence(item: pytest.Item) -> str:
    function: Any = getattr(item, "function", None)
    text = inspect.getdoc(function) if function else None
    return " ".join(text.partition("\n\n")[0].split()) if text else item.name.replace("_", " ")


def _detail(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    phase = "" if report.when == "call" else f"while {report.when} ran: "
    return phase + (crash.message if crash else str(report.longrepr))[:_DETAIL_CHARS]


def _reason(report: pytest.TestReport) -> str:
    if known := getattr(report, "wasxfail", ""):
        return f"expected to fail: {known}"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
