"""The report plugin writes down every outcome, whatever goes wrong in a run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from storycore.ports.lifecycle import PortName
from storycore.testing.score import FAULTY_STORES

_TESTS = '''
import pytest
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness


class TestMine:
    @pytest.fixture
    def harness(self, tmp_path):
        return Harness(PortName.CACHE, "memory", {}, tmp_path)

    @pytest.fixture
    def broken(self):
        raise OSError("no such place")

    @pytest.fixture
    def leaving(self):
        yield
        raise OSError("cannot be cleared")

    def test_good(self, harness, record_property):
        """It holds.

        And this is not the sentence.
        """
        harness.count("steps", 3)
        harness.count("steps")
        record_property("faulty stores caught", 1)
        record_property("seed", "seven")

    @pytest.mark.parametrize("number", [1, 2, 3], ids=["a::b", "c", "d"])
    def test_mostly(self, number):
        """It holds for all
        numbers."""
        assert number < 3

    def test_not_claimed(self):
        """It can do more."""
        pytest.skip("not claimed: more")

    def test_elsewhere(self):
        """It works there."""
        pytest.skip("only there")

    def test_no_place(self, broken):
        """It has a place."""

    def test_leaves_traces(self, leaving):
        """It leaves nothing."""

    def test_no_docstring(self):
        pass


class TestOther:
    def test_other(self):
        """Other."""
'''


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:  # a JSON document
    """What the plugin wrote of a run in which everything happens."""
    place = tmp_path_factory.mktemp("run")
    (place / "test_mine.py").write_text(_TESTS)
    (place / "test_unreadable.py").write_text("import no_such_module\n")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(place), "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", "-p", "storycore.testing.report", "--storycore-report", "out.json"]
    subprocess.run(command, cwd=place, capture_output=True, check=False)
    return json.loads((place / "out.json").read_text())


def test_each_class_is_a_report_of_its_own(written: Any) -> None:
    """The adapter and port are those of the class's harness."""
    mine, other = written["reports"]
    assert (mine["adapter"], mine["port"], mine["distribution"]) == ("memory", "cache", "storycore")
    assert (other["suite"], other["proved"]) == ("test_mine.py::TestOther", ["Other."])
    assert "adapter" not in other


def test_a_sentence_is_proved_only_when_every_example_holds(written: Any) -> None:
    """The docstring's first paragraph is the sentence, else the test's name."""
    mine = written["reports"][0]
    assert mine["proved"] == ["It holds.", "test no docstring"]
    assert mine["counts"] == {"passed": 5, "failed": 3, "skipped": 2}


def test_failures_are_told_with_their_phase(written: Any) -> None:
    """An error before or after a test counts, and says when it happened."""
    failed = {each["sentence"]: each["detail"] for each in written["reports"][0]["failed"]}
    assert list(failed) == ["It holds for all numbers.", "It has a place.", "It leaves nothing."]
    assert "while setup ran: OSError: no such place" in failed["It has a place."]
    assert "while teardown ran: OSError: cannot be cleared" in failed["It leaves nothing."]


def test_what_is_not_claimed_is_apart_from_what_was_skipped(written: Any) -> None:
    """An absent ability names its feature; another skip its reason."""
    mine = written["reports"][0]
    assert mine["not_claimed"] == [{"sentence": "It can do more.", "feature": "more"}]
    assert mine["skipped"] == [{"sentence": "It works there.", "reason": "only there"}]


def test_what_cannot_be_collected_is_told(written: Any) -> None:
    """A file that does not import is no silence."""
    assert ["no_such_module" in each for each in written["broken"]] == [True]


def test_what_was_tried_is_counted(written: Any) -> None:
    """Numbers of the harness and of the run's properties are added up; the suite's own record stands beside them."""
    mine, other = written["reports"]
    assert mine["measured"] == {"steps": 4, "faulty stores caught": 1}
    assert mine["faulty_stores_caught"] == FAULTY_STORES[PortName.CACHE]
    assert other["measured"] == {}
