"""The demonstration runs on a laptop and on the production stack by configuration alone, and its outcome is the same.

The production stack is the profile ``aws`` with the servers that the adapters bring; only the embedder is the laptop's,
for an emulator of Bedrock knows no meanings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storycore.cli.program import run
from storycore.testing.servers import served

_PROFILES = """
[profile.here]
extends = "local"
dir = "./here"

[profile.cloud]
extends = "aws"
dir = "./cloud"
embedder = "minilm://"
"""
_CLOUD = {
    "entities": {"adapter": "dynamodb", "table": "storycore-demo"},
    "events": {"adapter": "dynamodb", "table": "storycore-demo-events"},
    "cache": {"adapter": "redis"},
    "vectors": {"adapter": "pinecone", "index": "storycore-demo"},
    "blobs": {"adapter": "s3", "bucket": "storycore-demo"},
}
_TIMES = {"milliseconds", "seconds", "verify_seconds", "moment"}
_OF_THE_PLACE = {"profile", "created", "places", "answered_by", "next_steps", "backup_id", "size_bytes", "notices"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A working directory with the two profiles and a few documents."""
    ports = [
        f"{port} = {_table({**settings, **served(settings['adapter'], request.config)})}"
        for port, settings in _CLOUD.items()
    ]
    (tmp_path / "storycore.toml").write_text("\n".join([_PROFILES, *ports]), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "falls.md").write_text("# The falls\n\nThe river falls thirty metres.\n", encoding="utf-8")
    (tmp_path / "docs" / "trade.txt").write_text("Tobacco and flour went by canal.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    return tmp_path


def _table(settings: Mapping[str, object]) -> str:
    """Settings as an inline table of TOML."""
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()) + " }"


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:  # a JSON document
    """What a command line printed as JSON."""
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without_places(told: Any) -> Any:  # a JSON document
    """The outcome without what names a place or says how long something took, and scores to five digits."""
    if isinstance(told, float):
        return float(f"{told:.5g}")  # indexes compute in single or in double precision
    if isinstance(told, dict):
        return {name: without_places(value) for name, value in told.items() if name not in _TIMES | _OF_THE_PLACE}
    return [without_places(each) for each in told] if isinstance(told, list) else told


def test_the_demonstration_is_the_same_on_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Documents, answers, stories, cursors, and what is listed afterwards: only places and times differ."""
    here, cloud = (outcome(capsys, "demo", "--profile", name, "--docs", "docs") for name in ("here", "cloud"))
    stack = {each["port"]: each["adapter"] for each in cloud["places"]}
    assert {port: settings["adapter"] for port, settings in _CLOUD.items()}.items() <= stack.items()
    assert cloud["stories"]["reads"][0]["answered_by"] == "store (dynamodb)"
    assert without_places(here) == without_places(cloud)
    for kind in ("user", "story", "template"):
        here, cloud = (outcome(capsys, "list", kind, "--profile", name) for name in ("here", "cloud"))
        assert _ids(here, kind) == _ids(cloud, kind) != []


def _ids(listed: Any, kind: str) -> list[str]:  # a JSON document
    return [item[f"{kind}_id"] for item in listed["items"]]
