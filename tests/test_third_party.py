"""A third party's adapter, installed by its packaging alone, is found, chosen and proved like one of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROFILE = """
default = "fast"

[profile.fast]
extends = "memory"
cache = "ramdisk://?max_entries=50"

[profile.wrong]
extends = "memory"
cache = "ramdisk://?max_entrees=50"
"""
USE = """
import storycore
with storycore.open_sync() as store:
    print(store.ports["cache"].info.adapter, store.ports["cache"].info.version, store.ports["entities"].info.adapter)
"""

pytestmark = pytest.mark.slow


class Place:
    """A folder outside the workspace with an environment of its own, in which the adapter is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run a program of the environment in the folder; its standard output, once its exit status is as expected."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STORYCORE"))}
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def install(self, *requirements: str) -> None:
        """Install with uv where it is there, else with pip; at the project's pins. The first call makes the place."""
        pins = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
        (self.folder / "pins.txt").write_text("\n".join(pins["constraint-dependencies"]), encoding="utf-8")
        if uv := os.environ.get("UV") or shutil.which("uv"):
            make = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, "venv"]
            subprocess.run(make, cwd=self.folder, check=True)
            command = [uv, "pip", "install", "--quiet", "--python", "venv"]
        else:
            venv.create(self.folder / "venv", with_pip=True)
            command = [str(self.bin / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*command, "--constraint", "pins.txt", *requirements], cwd=self.folder, check=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The example's copy, installed together with storycore and its kit."""
    place = Place(tmp_path_factory.mktemp("acme"))
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT / "examples" / "acme-ramdisk", place.folder / "acme-ramdisk", ignore=ignored)
    place.install(f"storycore[testing] @ {ROOT.as_uri()}", "./acme-ramdisk")
    (place.folder / "storycore.toml").write_text(PROFILE, encoding="utf-8")
    return place


def test_it_is_found(place: Place) -> None:
    """`storycore plugins` lists it with its distribution, version and port, beside our own, also one without a port."""
    listed = json.loads(place.run("storycore", "plugins", "--json"))["plugins"]
    facts = {each["name"]: (each["distribution"], each["version"], each["ports"], each["problem"]) for each in listed}
    assert sorted(facts) == ["memory", "otel", "ramdisk"]
    assert facts["ramdisk"] == ("acme-ramdisk", "1.2.0", ["cache"], "")
    assert facts["otel"][2:] == ([], "")


def test_it_is_chosen_by_a_profile(place: Place) -> None:
    """One line of configuration puts it behind the cache port, with its settings; the other ports stay."""
    assert place.run("python", "-c", USE).split() == ["ramdisk", "1.2.0", "memory"]


def test_a_wrong_setting_of_it_is_refused(place: Place) -> None:
    """Its settings are checked as ours are: exit status 2, and the nearest name is suggested."""
    said = json.loads(place.run("storycore", "init", "--profile", "wrong", "--json", status=2))
    assert said["error"]["code"] == "config_error"
    assert "max_entries" in said["error"]["message"]


def test_the_kit_proves_it(place: Place) -> None:
    """`storycore conformance` runs the port's suite on it; every promise holds."""
    report = json.loads(place.run("storycore", "conformance", "cache", "--adapter", "ramdisk", "--json"))
    assert report["failed"] == []
    assert len(report["proved"]) >= 20


def test_its_own_tests_pass(place: Place) -> None:
    """The same suite, subclassed in the distribution's own tests, under its own settings; a part stands for all."""
    said = place.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "lease", "acme-ramdisk")
    assert " passed" in said


def test_a_new_adapter_is_a_project_in_which_the_kit_runs(place: Place) -> None:
    """What is written installs, is found, and the kit says which promises are still to be kept."""
    place.run("storycore", "new-adapter", "acme-tape", "--port", "cache", "--port", "reranker")
    place.install(f"storycore[testing] @ {ROOT.as_uri()}", "./storycore-acme-tape")
    listed = json.loads(place.run("storycore", "plugins", "--json"))["plugins"]
    assert [each["ports"] for each in listed if each["name"] == "acme-tape"] == [["cache", "reranker"]]
    arguments = ("conformance", "reranker", "--adapter", "acme-tape", "--json")
    report = json.loads(place.run("storycore", *arguments, status=1))
    assert "An operation after ``close`` raises ``Unavailable``." in report["proved"]
    assert [each["test"] for each in report["failed"] if "NotImplementedError" not in each["detail"]] == []
    folder = "storycore-acme-tape/tests/test_reranker.py"
    said = place.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder, status=1)
    assert " failed, " in said
