"""The commands that walk over all entities: upgrade and changes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import storycore as package
from storycore.cli.program import run
from storycore.ports.entities import Put, Segment
from storycore.story import User

Ran = tuple[int, str, str]


@pytest.fixture
def storycore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Run a command line on a local layer in ./data, in which two users are."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(
        'default = "quick"\n[profile.quick]\nextends = "local"\ndir = "data"\nembedder = "memory://"\n'
    )

    async def fill() -> None:
        async with package.open() as store:
            await store.init()
            for name in ("ada", "bob"):
                await store.users.save(User(user_id=name, email=f"{name}@example.com", username=name))
            await store.users.delete("bob")

    asyncio.run(fill())

    def call(*arguments: str) -> Ran:
        status = run(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def age(body: bytes | None = None) -> None:
    """Let the stored user be one that an older program wrote, with another body if one is given."""

    async def rewrite() -> None:
        async with package.open() as store:
            [record] = [each for each in (await store.entities.scan(Segment())).records if each.kind == "user"]
            fields = {**record.fields, "schema": str(record.fields["schema"]).rpartition(".")[0]}
            put = Put(key=record.key, kind=record.kind, fields=fields, body=body or record.body)
            await store.entities.write([put])

    asyncio.run(rewrite())


def test_upgrade_counts_then_rewrites_then_finds_nothing(storycore: Callable[..., Ran]) -> None:
    """In words and as JSON; a second run changes nothing."""
    age()
    assert storycore("upgrade", "users", "--dry-run") == (0, "1 record: 1 outdated\n", "")
    status, out, _ = storycore("upgrade", "--json", "--rate", "1000")
    assert (status, json.loads(out)["rewritten"]) == (0, 1)
    assert storycore("upgrade") == (0, "1 record: 0 outdated, 0 rewritten\n", "")


def test_upgrade_tells_what_it_could_not_do(storycore: Callable[..., Ran]) -> None:
    """Exit status 3, the record and the reason."""
    age(b"{broken")
    status, out, _ = storycore("upgrade")
    assert status == 3
    assert "failed user (user#ada, user)" in out
    status, out, _ = storycore("upgrade", "--json")
    [failure] = json.loads(out)["failures"]
    assert (status, failure["pk"], failure["error"]["code"]) == (3, "user#ada", "corrupt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("upgrade", "usr"), "Did you mean 'user'?"),
        (("upgrade", "--rate", "0"), "--rate"),
        (("upgrade", "--resume", "x"), "leave it out to begin anew"),
        (("changes", "usr"), "Did you mean 'user'?"),
        (("changes", "--group", "no blanks"), "A group's name"),
        (("changes", "--from", "nowhere"), "not a position"),
    ],
)
def test_wrong_arguments_are_told(storycore: Callable[..., Ran], arguments: tuple[str, ...], words: str) -> None:
    """Exit status 2, and one line that says what to do."""
    status, _, err = storycore(*arguments)
    assert status == 2
    assert words in err


def test_changes_are_shown_oldest_first(storycore: Callable[..., Ran]) -> None:
    """A line each, or one document."""
    status, out, _ = storycore("changes", "users")
    lines = out.splitlines()
    assert status == 0
    assert [line.split(" ")[1:3] for line in lines] == [["user", "put"], ["user", "put"], ["user", "delete"]]
    assert "(user#bob, user)" in lines[2]
    found = json.loads(storycore("changes", "--json")[1])["changes"]
    assert [change["action"] for change in found] == ["put", "put", "delete"]
    rest = json.loads(storycore("changes", "--json", "--from", found[1]["position"])[1])["changes"]
    assert rest == found[2:]


def test_a_group_is_shown_everything_once(storycore: Callable[..., Ran]) -> None:
    """The next call goes on where the one before ended."""
    assert len(storycore("changes", "--group", "me")[1].splitlines()) == 3
    assert storycore("changes", "--group", "me") == (0, "", "")
