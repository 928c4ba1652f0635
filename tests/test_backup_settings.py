"""Settings of backups and jobs: what contradicts itself is refused, and says which setting it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from storycore.errors import ConfigError
from storycore.jobs.declaration import Job, planned
from storycore.profiles import describe, load
from storycore.profiles.zones import zone_called


async def _nothing() -> None:
    """A job's work."""


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        ({"ports": []}, r"^backup\.ports: .*at least 1"),
        ({"ports": ["entitys"]}, r"^backup\.ports\.0: .*'entities'.* not 'entitys'"),
        ({"passphrase": "correct horse", "key_file": "x.key"}, "^backup: passphrase and key_file are given"),
        ({"key_file": "x.key", "key_provider": "kms"}, "^backup: key_file and key_provider are given"),
        ({"key_options": {"key_id": "x"}}, "^backup: key_options are those of a key_provider"),
        ({"record_every": 7}, r"^backup\.record_every: minutes that divide an hour, .* not 7"),
        ({"key_file": "a\0b"}, r"key_file: expected the path of a file"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(backup: dict[str, object], said: str, tmp_path: Path) -> None:
    """Nothing is ignored in silence, and no secret is shown."""
    with pytest.raises(ConfigError, match=said) as caught:
        load("memory", environ={}, cwd=tmp_path, overrides={"backup": backup})
    assert "horse" not in str(caught.value)


def test_a_profile_takes_back_the_key_of_the_one_that_it_extends(tmp_path: Path) -> None:
    """An empty text is how a key is taken back; the other one counts then."""
    (tmp_path / "storycore.toml").write_text(
        '[profile.a]\nextends = "memory"\n[profile.a.backup]\npassphrase = "secret://env/X"\n'
        '[profile.b]\nextends = "a"\n[profile.b.backup]\npassphrase = ""\nkey_file = "b.key"\n',
        encoding="utf-8",
    )
    found = load("b", environ={}, cwd=tmp_path)
    assert (found.backup.passphrase, found.backup_key_file) == ("", tmp_path / "b.key")


def test_a_key_file_is_one_file_wherever_the_program_is_started(tmp_path: Path) -> None:
    """A relative one is relative to the configuration file, else another folder would mean another key."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    (project / "storycore.toml").write_text(
        '[profile.a]\nextends = "local"\n[profile.a.backup]\nkey_file = "keys/my.key"\n'
        '[profile.b]\nextends = "local"\ndir = "data"\n[profile.b.backup]\nkey_file = "{dir}/my.key"\n',
        encoding="utf-8",
    )
    environ = {"STORYCORE_CONFIG": str(project / "storycore.toml")}
    assert load("a", environ=environ, cwd=elsewhere).backup_key_file == project / "keys/my.key"
    assert load("b", environ=environ, cwd=elsewhere).backup_key_file == project / "data/my.key"


def test_whether_owners_have_keys_is_no_secret(tmp_path: Path) -> None:
    """A listing of settings hides keys, and not the choice to have some."""
    profile = load("memory", environ={}, cwd=tmp_path, overrides={"backup": {"owner_keys": True, "passphrase": "pst!"}})
    shown = {line.path: line.value for line in describe(profile)}
    assert (shown["backup.owner_keys"], shown["backup.passphrase"]) == (True, "***")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("berlin", "'Europe/Berlin'"),
        ("Europe/Berln", "'Europe/Berlin'"),
        ("new york", "'America/New_York'"),
        ("Qx/Zzyzx", "Name it like 'Europe/Berlin'"),
        ("../etc/passwd", "Name it like 'Europe/Berlin'"),
        ("", "Name it like 'Europe/Berlin'"),
    ],
)
def test_a_zone_that_does_not_exist_is_told_in_one_line(name: str, cure: str) -> None:
    """With the nearest of names and cities, and never with all of them."""
    with pytest.raises(ConfigError, match=cure) as caught:
        zone_called(name, "backup.time_zone")
    assert (caught.value.path, len(caught.value.message) < 160) == ("backup.time_zone", True)


def test_a_wrong_zone_of_the_profile_is_not_told_of_a_job() -> None:
    """Who set the profile's zone looks for it there; a job's own is the job's."""
    with pytest.raises(ConfigError) as profiles:
        planned(Job(name="report", cron="0 6 * * *", work=_nothing), zone="Mars")
    with pytest.raises(ConfigError) as own:
        planned(Job(name="report", cron="0 6 * * *", work=_nothing, tz="Mars"), zone="UTC")
    assert (profiles.value.path, own.value.path) == ("jobs.time_zone", "jobs.report.tz")
