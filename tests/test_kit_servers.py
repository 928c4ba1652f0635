"""An adapter of a service brings a server, on which the kit proves it and with which its users develop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storycore.plugins import Adapter, NoConfig
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

_PLUGIN = """
import os
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel
from storycore.errors import ConfigError
from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName

DIARY = Path(__file__).with_name("diary")


class Config(BaseModel):
    table: str
    endpoint: str = "elsewhere"


def note(line):
    with DIARY.open("a") as diary:
        diary.write(line + "\\n")


@hookimpl
def storycore_adapters():
    return [Adapter(
        name="acme_served", ports={PortName.EMBEDDER: "acme_served:open_embedder"}, config=Config, url_path="table",
        distribution="acme_served", conformance={"table": "kit-{name}"}, server="acme_served:server",
    )]


@contextmanager
def server(*, port=0):
    note("started")
    if "ACME_BROKEN" in os.environ:
        raise ConfigError("pip install acme-server")
    try:
        yield {"endpoint": f"here:{port}"}
    finally:
        note("stopped")


def open_embedder(config, env):
    from storycore.memory.embedder import MemoryEmbedder
    from storycore.ports.lifecycle import AdapterInfo

    class Served(MemoryEmbedder):
        info = AdapterInfo("acme_served")

    note(f"{config.endpoint} {config.table}")
    made = Served(16)
    if "ACME_ODD" in os.environ:
        made.native = lambda kind: made
    return made
"""
_TESTS = """
from storycore.testing.embeddings import EmbedderSuite


class TestOne(EmbedderSuite):
    adapter = "acme_served"


class TestOther(EmbedderSuite):
    adapter = "acme_served"


class TestReal(EmbedderSuite):
    adapter = "acme_served"
    serve = False
    options = {"endpoint": "real"}
"""


class Place:
    """A folder in which the adapter is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "acme_served.py").write_text(_PLUGIN)
        info = folder / "acme_served-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme_served\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[storycore.adapters]\nacme_served = acme_served\n")

    def environ(self, **more: str) -> Mapping[str, str]:
        """The environment in which the adapter is found."""
        return {**os.environ, "PYTHONPATH": str(self.folder), **more}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a module with the folder on its path."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environ(**more),
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def diary(self) -> list[str]:
        """What the adapter and its server have written down."""
        return (self.folder / "diary").read_text().splitlines()

    def endpoints(self) -> set[str]:
        """Where the adapter was opened."""
        return {line.partition(" ")[0] for line in self.diary if " " in line}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder with the adapter."""
    return Place(tmp_path)


def _pytest(place: Place, *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (place.folder / "test_acme.py").write_text(_TESTS)
    command = ["pytest", "-q", "--rootdir", str(place.folder), "-p", "no:cacheprovider", *more]
    return place.run(*command, **environ)


def test_a_run_starts_the_server_once_and_stops_it(place: Place) -> None:
    """Two suites share it, and it is stopped when pytest ends."""
    done = _pytest(place, "-k", "closed and (TestOne or TestOther)")
    assert done.returncode == 0, done.stdout
    assert (place.diary[0], place.diary[-1], place.diary.count("started")) == ("started", "stopped", 1)
    assert place.endpoints() == {"here:0"}


def test_each_place_has_a_name_of_its_own(place: Place) -> None:
    """``{name}`` is short, of letters and digits, and another one for each test."""
    _pytest(place, "-k", "TestOne and (closed or twice)")
    names = {line.partition(" ")[2] for line in place.diary if " " in line}
    assert len(names) == 2
    assert all(len(name) < 20 and name.removeprefix("kit-").isalnum() for name in names)


def test_a_suite_may_name_a_real_place(place: Place) -> None:
    """With ``serve = False`` no server is started."""
    done = _pytest(place, "-k", "closed and TestReal")
    assert done.returncode == 0, done.stdout
    assert ("started" in place.diary, place.endpoints()) == (False, {"real"})


def test_a_server_that_does_not_start_is_tried_once(place: Place) -> None:
    """Every test tells the cure, and none waits for the server again."""
    done = _pytest(place, "-k", "TestOne and (closed or twice)", ACME_BROKEN="1")
    assert (done.returncode, done.stdout.count("ConfigError: pip install acme-server") >= 2) == (1, True)
    assert place.diary == ["started"]


_KNOWN = """
server = "acme-server"

[[divergence]]
emulator = "acme-server"
version = "1"
test = "test_an_unknown_raw_client_is_unsupported"
differs = "It gives whatever it is asked for."
reason = "The service refuses it."
"""


def test_what_a_server_is_known_to_do_differently_is_expected(place: Place) -> None:
    """The test is expected to fail with the reason, and the rest of the contract is held."""
    (place.folder / "divergences.toml").write_text(_KNOWN)
    command = ["storycore", "conformance", "embeddings", "--adapter", "acme_served", "--json"]
    report = json.loads(place.run(*command, ACME_ODD="1").stdout)
    expected = "expected to fail: acme-server 1: It gives whatever it is asked for."
    assert (report["held"], [each["reason"] for each in report["skipped"]]) == (True, [expected])


def test_a_divergence_that_is_no_longer_true_fails(place: Place) -> None:
    """So that it is removed."""
    (place.folder / "divergences.toml").write_text(_KNOWN)
    done = _pytest(place, "-k", "TestOne and raw_client")
    assert (done.returncode, "XPASS(strict)" in done.stdout) == (1, True)
    assert _pytest(place, "-k", "TestReal and raw_client").returncode == 0


def test_the_command_starts_the_server_itself(place: Place) -> None:
    """`storycore conformance` needs no URL for an adapter that brings its server."""
    done = place.run("storycore", "conformance", "embeddings", "--adapter", "acme_served", "--json")
    assert (done.returncode, json.loads(done.stdout)["held"]) == (0, True)
    assert (place.diary[0], place.diary[-1], place.endpoints()) == ("started", "stopped", {"here:0"})


def test_the_command_says_what_the_server_needs(place: Place) -> None:
    """Before anything is run, with the status of a wrong set-up."""
    done = place.run("storycore", "conformance", "embeddings", "--adapter", "acme_served", ACME_BROKEN="1")
    assert (done.returncode, "pip install acme-server" in done.stderr) == (2, True)


def test_the_command_wants_a_fresh_name_for_each_test(place: Place) -> None:
    """One table for all tests is refused; the message shows a URL that is not."""
    done = place.run("storycore", "conformance", "embeddings", "--url", "acme_served://mine")
    assert (done.returncode, "acme_served:///kit-{name}" in done.stderr) == (2, True)


def test_a_url_names_the_place(place: Place) -> None:
    """With a URL the server stays off."""
    done = place.run("storycore", "conformance", "embeddings", "--url", "acme_served://t-{name}?endpoint=real")
    assert done.returncode == 0, done.stderr
    assert ("started" in place.diary, place.endpoints()) == (False, {"real"})


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C cannot be sent to one process there")
def test_the_service_runs_until_it_is_interrupted(place: Place) -> None:
    """`storycore dev` prints the settings that lead to it, and stops it on Ctrl-C."""
    command = [sys.executable, "-m", "storycore", "dev", "acme_served", "--port", "7", "--json"]
    with subprocess.Popen(
        command, cwd=place.folder, env=place.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = "".join(iter(process.stdout.readline, "}\n")) + "}"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert json.loads(said)["settings"] == {"table": "storycore", "endpoint": "here:7"}
    assert place.diary == ["started", "stopped"]


def test_an_adapter_without_a_service_has_none_to_run(place: Place) -> None:
    """`storycore dev` says so."""
    done = place.run("storycore", "dev", "memory")
    assert (done.returncode, "brings no service" in done.stderr) == (2, True)


def test_settings_of_the_server_stand_between_the_usual_and_the_given(tmp_path: Path) -> None:
    """What a test says wins over the server, and the server over the adapter's usual options."""
    usual: dict[str, Any] = {"a": "usual", "b": "usual", "c": "usual {name}"}
    spec = Adapter(name="acme", ports={}, config=NoConfig, conformance=usual)
    harness = Harness(PortName.CACHE, spec, {"b": "given"}, tmp_path, served={"a": "served", "b": "served"})
    assert harness.settings() == {"a": "served", "b": "given", "c": f"usual {harness.name}"}
    assert harness.fresh().settings()["a"] == "served"
    assert harness.fresh().name != harness.name
