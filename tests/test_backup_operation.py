"""Backups in a hostile world, as who runs them meets it: full disks, read-only places, killed and rival programs."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import storycore as library
from storycore.backup import keys as key_files
from storycore.backup.workspaces import Purpose, workspace
from storycore.cli.backup_probes import backup_findings
from storycore.cli.findings import State
from storycore.cli.program import run
from storycore.errors import AlreadyExists
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.story import User
from storycore.testing.clock import ManualClock

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no limits of files, no locks of folders, no kill")
_PROFILES = """
default = "here"
[profile.here]
extends = "local"
dir = "here"
embedder = "memory://"
cache = "memory://"
vectors = "memory://"
[profile.here.backup]
ports = ["blobs", "entities"]
blobs = "files:///archive"
keep_last = 1
keep_daily = 0
keep_weekly = 0
keep_monthly = 0
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

    @property
    def told(self) -> str:
        """Everything it said, as one line."""
        return " ".join(f"{self.out} {self.err}".split())


Storycore = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose profile keeps backups in a place of their own, and a temporary folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
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


def save(name: str, *, size: int = 0) -> None:
    """A user, and a blob of so many bytes that do not compress."""

    async def work() -> None:
        async with library.open("here") as store:
            await store.users.save(User(user_id=name, email=f"{name}@example.com", username=name))
            if size:
                await store.blobs.put(f"photos/{name}", os.urandom(size), when=ANY)

    asyncio.run(work())


def started(*arguments: str, before: str = "") -> subprocess.Popen[str]:
    """The same program in a process of its own, after some lines of Python."""
    lines = (
        before,
        "import sys",
        "from storycore.cli import main",
        f"sys.argv = {['storycore', *arguments]!r}",
        "main()",
    )
    program = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def squeezed(size: int, *arguments: str) -> Ran:
    """The same while no file can grow beyond so many bytes, which is how a full disk looks without one."""
    process = started(
        *arguments, before=f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    )
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


STANDING_RESTORE = """
import asyncio
from storycore.backup.sources.entities import EntitySource
async def apply(self, *args, **named):
    print('restored', flush=True)
    await asyncio.sleep(60)
EntitySource.apply = apply
"""


def test_init_makes_the_place_and_the_key_of_backups(storycore: Storycore, folder: Path) -> None:
    """A dry run only tells; what is missing later is found by the doctor, with its cure."""
    planned = storycore("init", "--dry-run")
    assert (str(folder / "archive") in planned.told, (folder / "archive").exists()) == (True, False)
    assert f"make the key {folder / 'here' / 'backup.key'}" in planned.told
    made = storycore("init", "--json").json["actions"]["backup"]
    assert [line for line in made if "backup.key" in line] == [made[-1]]
    assert storycore("init", "--json").json["actions"]["backup"] == []
    assert storycore("backup", "create").status == 0
    (folder / "archive").rename(folder / "moved")
    missing = storycore("backup", "create")
    assert (missing.status, "storycore init" in missing.err) == (1, True)
    found = storycore("doctor", "--json")
    [place] = [each for each in found.json["findings"] if each["check"] == "backup"]
    assert (found.status, place["state"], "storycore init" in place["detail"]) == (1, "failed", True)


def test_the_doctor_tells_how_fresh_and_sure_backups_are(storycore: Storycore, folder: Path) -> None:
    """None, one that nobody read, one that was read, one whose key is gone, and a manifest that is damaged."""

    def states() -> dict[str, str]:
        return {each["check"]: each["state"] for each in storycore("doctor", "--json").json["findings"]}

    storycore("init")
    assert (states()["backup"], "backup.verified" in states()) == ("warning", False)
    assert "Everything works; see !" in storycore("doctor").out
    made = storycore("backup", "create", "--json").json["backup_id"]
    assert (states()["backup"], states()["backup.verified"]) == ("ok", "warning")
    storycore("backup", "verify")
    assert (states()["backup"], states()["backup.verified"], "backup.place" in states()) == ("ok", "ok", False)
    key = folder / "here" / "backup.key"
    key.rename(folder / "kept.key")
    assert states()["backup"] == "failed"
    (folder / "kept.key").rename(key)
    [manifest] = folder.rglob(f"{made}.json")
    manifest.write_bytes(b"!" + manifest.read_bytes()[1:])
    assert storycore("doctor").status == 1


async def test_the_doctor_sees_backups_that_are_old_or_ahead_of_the_clock(folder: Path) -> None:
    """Both are warnings, with what to do; within two days and an hour all is well."""
    clock = ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    async with library.open("here", env=Environment(clock=clock)) as store:
        await store.init(warm_cache=False, enable_backups=True)
        await store.backups.create()
        seen = []
        for days in (1, 2, -5):
            clock.advance(timedelta(days=days))
            found = (await backup_findings(store))[0]
            seen.append((found.state, found.cure.partition(" ")[0]))
    assert seen == [(State.OK, ""), (State.WARNING, "`storycore"), (State.WARNING, "Look")]


def test_a_full_disk_is_named_and_costs_no_backup(storycore: Storycore, folder: Path) -> None:
    """A backup that has no room is not there, says which place is full, and the earlier one is whole."""
    storycore("init")
    save("ada", size=100_000)
    kept = storycore("backup", "create", "--json").json["backup_id"]
    save("bob", size=3_000_000)
    refused = squeezed(1_000_000, "backup", "create", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "storage_full")
    assert str(folder / "archive") in refused.err
    assert [each["id"] for each in storycore("backup", "list", "--json").json["backups"]] == [kept]
    assert {path.name for path in folder.rglob("manual_*+")} == {f"{kept}+"}
    assert storycore("backup", "verify", "--level", "restore").status == 0
    assert storycore("backup", "create").status == 0


def test_a_restore_into_a_full_disk_is_completed_by_another(storycore: Storycore, folder: Path) -> None:
    """It names the target, and the same command does it when there is room."""
    storycore("init")
    save("ada", size=3_000_000)
    storycore("backup", "create")
    refused = squeezed(1_000_000, "restore", "run", "--into", "there")
    assert (refused.status, str(folder / "there") in refused.err) == (1, True)
    assert storycore("restore", "run", "--into", "there", "--json").json["restored"]["written"]["blobs"] == 1
    assert storycore("restore", "plan", "--into", "there", "--json").json["plan"]["blobs"]["unchanged"] == {"photos": 1}


def test_a_full_temporary_folder_is_told_with_its_setting(
    storycore: Storycore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`TMPDIR` is in every such error; a folder that is not there is not replaced by another one."""
    storycore("init")
    save("ada", size=3_000_000)
    storycore("backup", "create")
    refused = squeezed(1_000_000, "backup", "verify", "--level", "restore", "--json")
    assert (refused.status, refused.json["error"]["code"], "TMPDIR" in refused.err) == (1, "storage_full", True)
    assert [*(folder / "temporary").iterdir()] == []
    monkeypatch.setenv("TMPDIR", str(folder / "nowhere"))
    for command in (("backup", "verify", "--level", "restore"), ("backup", "create"), ("restore", "plan")):
        missing = storycore(*command)
        assert (missing.status, "TMPDIR" in missing.err, "nowhere" in missing.err) == (1, True, True), missing.told


def test_prune_frees_a_full_disk(storycore: Storycore, folder: Path) -> None:
    """It writes nothing for what it removes."""
    storycore("init")
    save("ada")
    for _ in range(3):
        storycore("backup", "create", "--full")
    done = squeezed(0, "backup", "prune", "--yes")
    assert (done.status, "1 kept, 2 removed" in done.told) == (0, True), done.told
    assert storycore("backup", "verify").status == 0


def test_a_verification_tells_what_it_found_where_nothing_can_be_written(storycore: Storycore, folder: Path) -> None:
    """Whole is whole; that retention does not learn of it is told."""
    storycore("init")
    save("ada")
    storycore("backup", "create")
    whole = squeezed(0, "backup", "verify")
    assert (whole.status, "is whole" in whole.told, "retention does not learn" in whole.told) == (0, True, True)
    assert storycore("backup", "verify", "--json").json["verification"]["unkept"] == ""


def test_a_key_comes_to_be_whole_or_not_at_all(storycore: Storycore, folder: Path) -> None:
    """Without room there is no file that looks like one, and nothing beside it."""
    storycore("init")
    (folder / "here" / "backup.key").unlink()
    refused = squeezed(20, "backup", "key", "--json")
    assert (refused.status, refused.json["error"]["code"], "backup.key" in refused.err) == (1, "storage_full", True)
    assert [path.name for path in (folder / "here").iterdir() if "key" in path.name] == []
    assert storycore("backup", "key", "--json").json["made"]
    assert [path.name for path in (folder / "here").iterdir() if "key" in path.name] == ["backup.key"]


async def test_two_who_need_a_key_first_have_the_same(tmp_path: Path) -> None:
    """One makes it, the other takes it, and nobody hears that it exists already."""
    file = key_files.KeyFile(tmp_path / "backup.key")
    told = await asyncio.gather(*(key_files.provided(file, 0) for _ in range(8)))
    assert sorted(map(bool, told)) == [False] * 7 + [True]
    sealed = await file.wrap(b"k" * 32, context={})
    assert await file.unwrap(sealed, context={}) == b"k" * 32


def test_a_key_is_made_where_files_have_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick's file system is enough, and a file that is there stays there too."""

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    made = key_files.new_key_file(tmp_path / "new.key")
    before = made.path.read_text()
    with pytest.raises(AlreadyExists):
        key_files.new_key_file(tmp_path / "new.key")
    assert ([path.name for path in tmp_path.iterdir()], made.path.read_text()) == (["new.key"], before)


def test_what_a_killed_verification_left_goes_with_the_next_work(storycore: Storycore, folder: Path) -> None:
    """While it lives nobody touches its folder, and other people's folders are never touched."""
    storycore("init")
    save("ada")
    storycore("backup", "create")
    temporary = folder / "temporary"
    (temporary / "storycore-other-things").mkdir()
    process = started("backup", "verify", "--level", "restore", before=STANDING_RESTORE)
    assert process.stdout is not None
    assert process.stdout.readline() == "restored\n"
    left = {*temporary.glob("storycore-verify-*")}
    assert [*temporary.glob("storycore-verify-*/store/*")]
    assert storycore("backup", "verify", "--level", "restore").status == 0
    assert {*temporary.glob("storycore-verify-*")} == left
    process.kill()
    process.communicate()
    assert storycore("backup", "create").status == 0
    assert [path.name for path in temporary.iterdir()] == ["storycore-other-things"]


async def test_a_workspace_goes_with_its_work(folder: Path) -> None:
    """Also with one that fails or is cancelled, and only its owner may enter it."""

    async def ends(act: Callable[[], object]) -> None:
        async with workspace("backup") as made:
            assert (made.stat().st_mode & 0o777, made.parent) == (0o700, folder / "temporary")
            (made / "file").write_bytes(b"x")
            act()

    def fail() -> None:
        raise KeyError

    await ends(lambda: None)
    with pytest.raises(KeyError):
        await ends(fail)
    assert [*(folder / "temporary").iterdir()] == []


async def opened_for_ever(purpose: Purpose) -> AsyncGenerator[Path, None]:
    """A workspace that stays until the generator is closed."""
    async with workspace(purpose) as made:
        yield made


async def test_workspaces_of_one_program_leave_each_other_alone(folder: Path) -> None:
    """One that is made while another is used sweeps only what nobody uses."""
    first, second = opened_for_ever("verify"), opened_for_ever("restore")
    one, two = await anext(first), await anext(second)
    (folder / "temporary" / "storycore-backup-left").mkdir()
    async with workspace("backup") as three:
        assert {path.name for path in (folder / "temporary").iterdir()} == {one.name, two.name, three.name}
    await first.aclose()
    await second.aclose()
    assert [*(folder / "temporary").iterdir()] == []


def test_an_interrupt_says_what_became_of_it(storycore: Storycore, folder: Path) -> None:
    """One sentence that is true: a verification does not go on where it stopped."""
    storycore("init")
    save("ada")
    storycore("backup", "create")
    process = started("backup", "verify", "--level", "restore", "--json", before=STANDING_RESTORE)
    assert process.stdout is not None
    assert process.stdout.readline() == "restored\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "Nothing was found out" in err, "goes on" in err) == (130, True, False), err
    assert json.loads(out)["error"]["message"] == err.strip()


def test_rivals_do_each_other_no_harm(storycore: Storycore, folder: Path) -> None:
    """Two backups, and two restores into one place, each pair at once: all end well, and all is whole."""
    storycore("init")
    for name in ("ada", "bob"):
        save(name, size=100_000)
    for pair in (
        [("backup", "create"), ("backup", "create", "--full")],
        [("restore", "run", "--into", "there"), ("restore", "run", "--into", "there")],
    ):
        rivals = [started(*command) for command in pair]
        ended = [(rival.communicate(timeout=60), rival.returncode) for rival in rivals]
        assert [status for _, status in ended] == [0, 0], ended
    listed = storycore("backup", "list", "--json").json
    assert (len(listed["backups"]), listed["damaged"]) == (2, {})
    assert storycore("backup", "verify", "--level", "restore").status == 0
    plan = storycore("restore", "plan", "--into", "there", "--json").json["plan"]
    assert {name for port in plan.values() for name, count in port.items() if count} == {"unchanged"}


@pytest.mark.parametrize("rot", [lambda data: data[: len(data) // 2], lambda data: data[::-1]])
def test_a_file_that_rots_in_the_archive_stops_nothing(
    storycore: Storycore, folder: Path, rot: Callable[[bytes], bytes]
) -> None:
    """It is named, the next backup does not build on it, and retention removes what it belongs to."""
    storycore("init")
    save("ada")
    made = storycore("backup", "create", "--json").json["backup_id"]
    [file] = [path for path in folder.rglob("entities-0001*") if made in str(path)]
    file.write_bytes(rot(file.read_bytes()))
    for level in ("manifest", "full"):
        found = storycore("backup", "verify", "--level", level)
        assert (found.status, "is damaged" in found.told, "entities-0001" in found.told) == (1, True, True), found.told
    save("bob")
    again = storycore("backup", "create", "--json")
    assert (again.status, again.json["created"]["manifest"]["parent"]) == (0, None)
    assert "entities-0001" in again.json["created"]["reason"]
    storycore("backup", "verify")
    pruned = storycore("backup", "prune", "--yes", "--json")
    assert (pruned.status, pruned.json["pruned"]["removed"]) == (0, [made])
    assert [path for path in folder.rglob("*") if made in str(path) and path.is_file()] == []


def documented() -> list[tuple[list[str], set[str]]]:
    """The commands of the page on operation, with the keys of what they print."""
    page = Path(__file__).parents[1] / "docs" / "backup-operation.md"
    rows = [
        line.split("|")[1:3]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `storycore")
    ]
    return [(command.strip(" `").split()[1:], {key.strip(" `") for key in keys.split(",")}) for command, keys in rows]


def test_what_is_printed_as_json_has_the_documented_keys(
    storycore: Storycore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the table runs in its order, and ends well."""
    monkeypatch.setenv("STORYCORE__BACKUP__OWNER_KEYS", "true")
    storycore("init")
    save("ada")
    rows = documented()
    printed = [(command, storycore(*command, "--json")) for command, _ in rows]
    assert [(command, set(ran.json)) for command, ran in printed] == rows
    assert [ran.told for _, ran in printed if ran.status] == []
