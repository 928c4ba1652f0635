"""`storycore doctor` on a table: each thing that is wrong is told with its cure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from storycore.cli.program import run

Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run it on a profile whose entities have these settings; gives check to finding."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("STORYCORE", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))

    def look(*commands: str, **settings: object) -> dict[str, Any]:
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (tmp_path / "storycore.toml").write_text(
            '[profile.live]\nextends = "memory"\n[profile.live.entities]\nadapter = "dynamodb"\n' + "\n".join(lines)
        )
        for command in (*commands, "doctor"):
            run([command, "--profile", "live", "--json"])
            out = capsys.readouterr().out
        return {each["check"]: each for each in json.loads(out)["findings"]}

    return look


def test_a_table_that_is_not_there_is_to_be_made(doctor: Doctor, server: Mapping[str, object]) -> None:
    """By `storycore init`."""
    found = doctor(**server, table="absent")
    assert found["health.entities"]["state"] == "failed"
    assert "'absent'" in found["health.entities"]["detail"]
    assert "storycore init" in found["health.entities"]["detail"]


def test_another_region_is_named_where_the_table_is_not_found(doctor: Doctor, server: Mapping[str, object]) -> None:
    """For the table is there, but elsewhere."""
    doctor("init", **server, table="elsewhere")
    found = doctor(**{**server, "region": "eu-west-1"}, table="elsewhere")
    assert found["health.entities"]["state"] == "failed"
    assert "eu-west-1" in found["health.entities"]["cure"]


def test_missing_credentials_are_told_with_the_ways_to_give_them(doctor: Doctor, server: Mapping[str, object]) -> None:
    """Before anything is sent."""
    found = doctor(table="items", endpoint_url=server["endpoint_url"], region="us-east-1")
    assert found["health.entities"]["state"] == "failed"
    assert "access_key_id" in found["health.entities"]["detail"]


def test_a_missing_region_is_told_with_the_ways_to_give_it(doctor: Doctor, server: Mapping[str, object]) -> None:
    """The profile, or the variable."""
    settings = {name: value for name, value in server.items() if name not in ("region", "endpoint_url")}
    found = doctor(**settings, table="items")
    assert found["health.entities"]["state"] == "failed"
    assert "AWS_REGION" in found["health.entities"]["detail"]


def test_a_service_that_does_not_answer_is_named(doctor: Doctor, server: Mapping[str, object]) -> None:
    """With its address."""
    settings = {**server, "endpoint_url": "http://127.0.0.1:9", "max_attempts": 1}
    found = doctor(**settings, table="items")
    assert found["health.entities"]["state"] == "failed"
    assert "127.0.0.1:9" in found["health.entities"]["cure"]


def test_a_switch_that_is_off_is_a_warning(doctor: Doctor, server: Mapping[str, object]) -> None:
    """The table serves, and `storycore init` would turn it on."""
    doctor("init", **server, table="switches")
    found = doctor(**server, table="switches", point_in_time_recovery=True, deletion_protection=True)
    assert found["health.entities"]["state"] == "ok"
    assert found["drift.entities"]["state"] == "warning"


def test_a_table_in_order_has_nothing_to_tell(doctor: Doctor, server: Mapping[str, object]) -> None:
    """It answers, and is as it is declared."""
    found = doctor("init", **server, table="orderly")
    assert found["health.entities"]["state"] == "ok"
    assert "drift.entities" not in found
