"""``storycore backup`` and ``storycore restore``: what they do, what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import storycore as library
from storycore.cli.program import run
from storycore.ports.conditions import ANY
from storycore.story import Story, User

_PROFILES = """
default = "here"
[profile.here]
extends = "local"
dir = "here"
embedder = "memory://"
cache = "memory://"
vectors = "memory://"
[profile.here.backup]
ports = ["blobs", "entities", "events"]
[profile.there]
extends = "here"
dir = "there"
"""


@dataclass
class Ran:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Storycore = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two profiles."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(_PROFILES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def storycore(folder: Path, capsys: pytest.CaptureFixture[str]) -> Storycore:
    """Run a command line there."""

    def call(*arguments: str) -> Ran:
        status = run(arguments)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


def change(*, add: str = "", remove: str = "", profile: str = "here") -> None:
    """Save or delete a user with a story and a blob."""

    async def work() -> None:
        async with library.open(profile) as store:
            await store.init(warm_cache=False)
            if add:
                await store.users.save(User(user_id=add, email=f"{add}@example.com", username=add))
                await store.stories.save(Story(story_id=f"y-{add}", user_id=add, title="t", content="c" * 300_000))
                await store.blobs.put(f"photos/{add}", b"\2" * 90_000, when=ANY, metadata={"user-id": add})
            if remove:
                await store.users.delete(remove)
                await store.stories.delete(f"y-{remove}")

    asyncio.run(work())


def users(storycore: Storycore, profile: str = "here") -> list[str]:
    """Who is there."""
    return [each["user_id"] for each in storycore("list", "user", "--json", "--profile", profile).json["items"]]


def test_a_backup_is_made_listed_shown_and_verified(storycore: Storycore) -> None:
    """The first is full and the second is not; a dry run makes none; every answer is there in words and as JSON."""
    change(add="ada")
    assert "A full backup would be made: it is the first one" in storycore("backup", "create", "--dry-run").out
    assert "There is no backup yet" in storycore("backup", "list").out
    first = storycore("backup", "create", "daily")
    assert (
        first.status,
        "full (it is the first one)" in first.out,
        "without it nobody" in " ".join(first.out.split()),
    ) == (0, True, True)
    [listed] = storycore("backup", "list", "--json").json["backups"]
    assert storycore("backup", "create", "--dry-run", "--json").json["parent"] == listed["id"]
    change(add="bob")
    second = storycore("backup", "create", "--json").json
    assert (second["created"]["manifest"]["parent"], second["backup_id"]) != (None, listed["id"])
    assert "an increment over" in storycore("backup", "show").out
    assert storycore("backup", "show", listed["id"], "--json").json["kind"] == "daily"
    for level in ("manifest", "sample", "full", "restore"):
        assert storycore("backup", "verify", "--level", level, "--json").json["is_whole"] is True
    told = storycore("backup", "verify", listed["id"])
    assert (told.status, "is whole" in told.out) == (0, True)
    table = storycore("backup", "list").out
    assert second["backup_id"] in table and "restore" in table and "more" in table


def test_damage_ends_a_verification_with_status_1(storycore: Storycore, folder: Path) -> None:
    """Each loss has a line; a manifest that cannot be read is listed as damaged."""
    change(add="ada")
    made = storycore("backup", "create", "--json").json["backup_id"]

    async def damage() -> None:
        async with library.open("here") as store:
            content = [i.key for i in (await store.blobs.entries(f"backups/{made}/blobs.content")).blobs]
            await store.blobs.delete(content)
            await store.blobs.put(f"backups/{made}/entities-0001", b"x" * 50, when=ANY)

    asyncio.run(damage())
    told = storycore("backup", "verify")
    assert (told.status, told.out.replace("\n", " ").count("lost ")) == (1, 2)
    assert "photos/ada" in told.out and "entities-0001" in told.out

    async def more() -> None:
        async with library.open("here") as store:
            await store.blobs.put(f"backups/manifests/{made}.json", b"{", when=ANY)

    asyncio.run(more())
    listed = storycore("backup", "list")
    assert (listed.status, "damaged" in listed.out) == (1, True)
    assert made in storycore("backup", "list", "--json").json["damaged"]


def test_a_restore_into_another_profile_and_back(storycore: Storycore) -> None:
    """A plan writes nothing; the other profile is created; a kind, a port or a user is enough."""
    change(add="ada")
    change(add="bob")
    storycore("backup", "create")
    plan = storycore("restore", "plan", "--into", "there", "--json").json["plan"]
    assert plan["entities"]["added"] == {"story": 2, "user": 2, "user~unique": 4}
    assert "photos" in storycore("restore", "run", "--into", "there", "--dry-run").out
    assert storycore("list", "user", "--profile", "there").status == 1
    one = storycore("restore", "run", "--into", "there", "--user", "bob", "--json").json["restored"]
    assert one["written"] == {"blobs": 1, "entities": 4, "events": 0}
    assert users(storycore, "there") == ["bob"]
    assert storycore("restore", "run", "--into", "there", "--kind", "user", "--port", "entities").status == 0
    assert sorted(users(storycore, "there")) == ["ada", "bob"]
    assert storycore("list", "story", "--user", "ada", "--profile", "there", "--json").json["items"] == []
    assert storycore("restore", "run", "--into-dir", "third").status == 0
    change(remove="ada")
    assert users(storycore) == ["bob"]
    done = storycore("restore", "run", "--user", "ada", "--mode", "merge", "--on-conflict", "skip")
    assert (done.status, sorted(users(storycore))) == (0, ["ada", "bob"])


def test_a_mistyped_kind_or_user_is_told(storycore: Storycore) -> None:
    """An empty table would look like a store that is in order; a kind that is skipped was found."""
    change(add="ada")
    storycore("backup", "create")
    plan = storycore("restore", "plan", "--kind", "stroy", "--into", "there")
    assert (plan.status, "The backup holds nothing of kind 'stroy'." in plan.out) == (0, True)
    done = storycore("restore", "run", "--user", "adda", "--into", "there")
    assert (done.status, "The backup holds nothing of user 'adda'." in done.out) == (0, True)
    same = storycore("restore", "run", "--user", "ada", "--mode", "merge", "--on-conflict", "skip")
    assert (same.status, "nothing of" in same.out) == (0, False)


def test_what_destroys_asks_for_yes(storycore: Storycore) -> None:
    """Wrong usage until it is given; with it the state is the backup's."""
    change(add="ada")
    storycore("backup", "create")
    change(add="eve")
    for words in (("restore", "run", "--mode", "replace"), ("restore", "run", "--on-conflict", "overwrite")):
        refused = storycore(*words)
        assert (refused.status, "--yes" in refused.err) == (2, True)
    refused = storycore("restore", "run")
    assert (refused.status, "not empty" in refused.err) == (1, True)
    assert storycore("backup", "prune").status == 2
    planned = storycore("restore", "run", "--mode", "replace", "--dry-run", "--json").json["plan"]
    assert planned["entities"]["removed"] == {"story": 1, "user": 1, "user~unique": 2}
    assert storycore("restore", "run", "--mode", "replace", "--yes").status == 0
    assert users(storycore) == ["ada"]


def test_a_moment_needs_a_time_zone_and_a_backup(storycore: Storycore) -> None:
    """Both are said; the state of a moment is that of the newest backup before it."""
    change(add="ada")
    as_of = storycore("backup", "create", "--json").json["created"]["manifest"]["as_of"]
    moment = datetime.now(UTC).isoformat()
    time.sleep(0.002)
    change(add="bob")
    storycore("backup", "create")
    for wrong in ("yesterday", "2026-11-22", "2026-11-22T10:00:00"):
        refused = storycore("restore", "plan", "--at", wrong)
        assert (refused.status, "2026-11-22T14:03:07Z" in refused.err) == (2, True)
    early = storycore("restore", "plan", "--at", "2001-01-01T00:00:00Z")
    assert (early.status, "No backup holds" in early.err) == (1, True)
    assert storycore("restore", "run", "--at", moment, "--into", "there").status == 0
    assert users(storycore, "there") == ["ada"]
    exact = storycore("restore", "plan", "--at", as_of, "--into", "there")
    later = storycore("restore", "plan", "--at", "2999-01-01T00:00:00Z", "--into", "there")
    assert ("nearest state before" in exact.out, "nearest state before" in later.out) == (False, True)
    unknown = storycore("restore", "plan", "--backup", "manual_20200101_000000_nobody")
    assert (unknown.status, "backup list" in unknown.err) == (1, True)
    assert storycore("restore", "plan", "--into", "nowhere").status == 2


def test_what_was_recorded_is_told(storycore: Storycore) -> None:
    """The backup that is needed first is made; the second time there is nothing new to make."""
    change(add="ada")
    first = storycore("backup", "record", "--json").json["recorded"]
    assert [each["id"] for each in storycore("backup", "list", "--json").json["backups"]] == [first["series"]]
    change(add="bob")
    again = storycore("backup", "record")
    assert (again.status, first["series"] in again.out, "changes sealed" in again.out) == (0, True, True)


def test_retention_prunes(storycore: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run tells the same as what is then done."""
    for name in ("LAST", "DAILY", "WEEKLY", "MONTHLY"):
        monkeypatch.setenv(f"STORYCORE__BACKUP__KEEP_{name}", "1" if name == "LAST" else "0")
    change(add="ada")
    for _ in range(3):
        assert storycore("backup", "create", "--full").status == 0
    planned = storycore("backup", "prune", "--dry-run", "--json").json["pruned"]
    assert (len(planned["removed"]), len(planned["kept"])) == (2, 1)
    done = storycore("backup", "prune", "--yes")
    assert (done.status, "1 kept, 2 removed" in done.out) == (0, True)
    assert [each["id"] for each in storycore("backup", "list", "--json").json["backups"]] == list(planned["kept"])


def test_the_key_is_made_shown_and_changed(storycore: Storycore, folder: Path) -> None:
    """It is never printed; after a rotation the new one opens everything."""
    change(add="ada")
    made = storycore("backup", "key", "--json").json
    path = folder / "here" / "backup.key"
    assert (made["made"], str(path) in made["key"]) == (True, True)
    assert str(path) in storycore("backup", "key").out.replace("\n", "")
    storycore("backup", "create")
    assert storycore("backup", "rotate").status == 2
    assert "1 backup would be" in storycore("backup", "rotate", "--key-file", "new.key", "--dry-run").out
    assert not (folder / "new.key").exists()
    assert storycore("backup", "rotate", "--key-file", "new.key", "--json").json["rotated"]
    refused = storycore("backup", "show")
    assert (refused.status, "was sealed with key" in refused.err) == (1, True)
    shutil.copy(folder / "new.key", path)
    assert storycore("backup", "verify").status == 0
    path.unlink()
    missing = storycore("backup", "create")
    assert (missing.status, "bring it back" in missing.err) == (2, True)
    shown = storycore("config").out
    assert (folder / "new.key").read_text().strip() not in shown


def test_one_user_is_erased_from_all_backups(storycore: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only with --yes; what it concerns is told before and after; without the setting the cure is named."""
    change(add="ada")
    change(add="bob")
    refused = storycore("backup", "erase", "ada", "--yes")
    assert (refused.status, "owner_keys = true" in refused.err) == (2, True)
    monkeypatch.setenv("STORYCORE__BACKUP__OWNER_KEYS", "true")
    made = storycore("backup", "create", "--json").json["backup_id"]
    assert "--yes" in storycore("backup", "erase", "ada").err
    planned = storycore("backup", "erase", "ada", "--dry-run", "--json").json["erased"]
    assert (planned["had_key"], planned["backups"]) == (True, [made])
    assert "would not be readable" in storycore("backup", "erase", "ada", "--dry-run").out.replace("\n", " ")
    done = storycore("backup", "erase", "ada", "--yes")
    assert (done.status, "1 backup and 0 recordings hold of 'ada'" in done.out.replace("\n", " ")) == (0, True)
    again = storycore("backup", "erase", "ada", "--yes")
    assert (again.status, "No key of 'ada' is left" in again.out) == (0, True)
    storycore("restore", "run", "--into", "there")
    assert users(storycore, "there") == ["bob"]


def test_what_is_not_there_is_told_with_its_cure(storycore: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that was never made, a place that does not exist, a zone and a setting that nobody knows."""
    never = storycore("backup", "create")
    assert (never.status, "storycore init" in never.err) == (1, True)
    change(add="ada")
    for variable, value, word in (
        ("BLOBS", "files://nowhere", "nowhere"),
        ("TIME_ZONE", "Europe/Berlim", "Europe/Berlin"),
        ("KEEP_DALY", "3", "keep_daily"),
        ("KEY_PROVIDER", "kms", "no loaded plugin"),
    ):
        monkeypatch.setenv(f"STORYCORE__BACKUP__{variable}", value)
        ran = storycore("backup", "create")
        assert (ran.status in (1, 2), word in ran.err) == (True, True), ran.err
        monkeypatch.delenv(f"STORYCORE__BACKUP__{variable}")
    assert storycore("backup", "create").status == 0


def test_an_interrupt_is_told_and_leaves_no_backup(storycore: Storycore, folder: Path) -> None:
    """Ctrl-C in the middle: status 130, a sentence, and a list without it."""
    for name in ("a", "b"):
        change(add=name)
    script = (
        "import asyncio, sys\n"
        "from storycore.backup.sources.events import EventSource\n"
        "async def read(self, sink):\n"
        "    print('begun', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "EventSource.read = read\n"
        "from storycore.cli import main\n"
        "sys.argv = ['storycore', 'backup', 'create']\n"
        "main()\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=30)
    assert (started.returncode, "No backup was made" in err, "goes on" in err) == (130, True, False), err
    assert storycore("backup", "list", "--json").json["backups"] == []
    names = [path for path in (folder / "here" / "blobs").rglob("*") if "manual_" in path.name]
    assert names == []


@pytest.mark.parametrize("ignored", [False, True])
def test_a_verification_that_is_told_to_end_leaves_no_copy(storycore: Storycore, folder: Path, ignored: bool) -> None:
    """SIGTERM, of a service manager or a scheduler, is as Ctrl-C, also for a program that runs in the background."""
    change(add="a")
    assert storycore("backup", "create").status == 0
    script = (
        "import asyncio, signal, sys\n"
        f"signal.signal(signal.SIGINT, signal.{'SIG_IGN' if ignored else 'default_int_handler'})\n"
        "from storycore.backup.sources.entities import EntitySource\n"
        "async def apply(self, *args, **named):\n"
        "    print('restored', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "EntitySource.apply = apply\n"
        "from storycore.cli import main\n"
        "sys.argv = ['storycore', 'backup', 'verify', '--level', 'restore']\n"
        "main()\n"
    )
    temporary = folder / "temporary"
    temporary.mkdir()
    started = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "restored\n"
    assert [*temporary.glob("storycore-verify-*/store/*")]
    started.terminate()
    _, err = started.communicate(timeout=30)
    assert (started.returncode, len(err.strip().splitlines())) == (130, 1), err
    assert [*temporary.glob("storycore-*")] == []
