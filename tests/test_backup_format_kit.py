"""Formats of third parties: one that a plugin brings works, passes the suite, and with a fault does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

import storycore as library
from storycore.backup.items import put_of, record_item
from storycore.errors import Corrupt, InvalidArgument, NotFound
from storycore.hooks import hookimpl
from storycore.ports.backup_formats import BackupFormat, Export, Exported, ExportFacts, ExportPart, ExportPlace
from storycore.ports.conditions import Version
from storycore.ports.entities import Record
from storycore.story import User
from storycore.testing.backup_formats import BackupFormatSuite, MemoryPlace

_ENDING = ".plain"


class Plain:
    """One file: a checksum, the moment, and each item in hexadecimal digits, a line each."""

    async def write(self, place: ExportPlace, pages: AsyncIterator[Sequence[Record]], facts: ExportFacts) -> Export:
        """Write the file at the end."""
        await place.remove([facts.id + _ENDING])
        lines = [record_item(record).hex() async for page in pages for record in page]
        content = "\n".join([facts.as_of.isoformat(), *lines])
        await place.put(facts.id + _ENDING, f"{sha256(content.encode()).hexdigest()}\n{content}".encode())
        return await self.find(place, facts.id)

    async def find(self, place: ExportPlace, name: str | None = None) -> Export:
        """The file of that name, or the only one."""
        found = [
            each for each in await place.names() if each.endswith(_ENDING) and name in (None, each[: -len(_ENDING)])
        ]
        if not found:
            raise NotFound(f"There is no {name or 'export'}.")
        if len(found) > 1:
            raise InvalidArgument("There are several.")
        return await self.described(place, found[0])

    async def described(self, place: ExportPlace, file: str) -> Export:
        """The export of a file."""
        at, *lines = await self.lines(place, file)
        parts = [ExportPart(file, len(lines))]
        return Export(name=file.removesuffix(_ENDING), as_of=datetime.fromisoformat(at), parts=parts)

    async def read(
        self, place: ExportPlace, export: Export, part: ExportPart
    ) -> AsyncGenerator[Sequence[Exported], None]:
        """All records."""
        _, *lines = await self.lines(place, part.name)
        yield [self.record(bytes.fromhex(line)) for line in lines]

    async def lines(self, place: ExportPlace, file: str) -> list[str]:
        """The lines behind the checksum, which they match."""
        proof, _, content = b"".join([piece async for piece in place.get(file)]).partition(b"\n")
        if sha256(content).hexdigest().encode() != proof:
            raise Corrupt(f"{file} is damaged.")
        return content.decode().split("\n")

    def record(self, item: bytes) -> Record:
        """The record of an item."""
        put = put_of(item)
        return Record(
            key=put.key,
            kind=put.kind,
            version=Version(0),
            expires_at=put.expires_at,
            index_keys=put.index_keys,
            fields=put.fields,
            body=put.body,
        )


class Plugin:
    """Brings it."""

    @hookimpl
    def storycore_backup_formats(self) -> Mapping[str, Callable[[], BackupFormat]]:
        """The one format."""
        return {"plain": Plain}


class TestPlain(BackupFormatSuite):
    """A format of a third party under the suite."""

    format = "plain"
    plugins = (Plugin(),)


async def test_a_plugin_brings_a_format(tmp_path: Path) -> None:
    """One that is handed to the store exports and imports like one that is installed."""
    async with library.open("memory", plugins=[Plugin()], dir=tmp_path / "a") as store:
        await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        await store.backups.create()
        made = await store.backups.exports.create(to=tmp_path / "out", format="plain")
        assert made.records == 3
        await store.users.delete("ada")
        done = await store.backups.exports.restore(tmp_path / "out", format="plain", mode="merge", on_conflict="skip")
        assert done.written == 3
        assert (await store.users.get("ada")).username == "ada"


class Trusting(Plain):
    """Compares no checksum."""

    async def lines(self, place: ExportPlace, file: str) -> list[str]:
        content = b"".join([piece async for piece in place.get(file)]).partition(b"\n")[2]
        return content.decode(errors="replace").split("\n")

    def record(self, item: bytes) -> Record:
        try:
            return super().record(item)
        except Corrupt:
            return super().record(b'["p","s","note",null,{},{}]\n')


class Rounding(Plain):
    """Loses what makes a float one."""

    def record(self, item: bytes) -> Record:
        record = super().record(item)
        whole = {name: int(value) if isinstance(value, float) else value for name, value in record.fields.items()}
        return replace(record, fields=whole)


class Hasty(Plain):
    """Leaves the old export while it writes the new one."""

    async def write(self, place: ExportPlace, pages: AsyncIterator[Sequence[Record]], facts: ExportFacts) -> Export:
        class Keeping(MemoryPlace):
            async def remove(self, names: Sequence[str]) -> None:
                """Remove nothing."""

        kept = Keeping()
        made = await super().write(kept, pages, facts)
        for name, content in kept.files.items():
            await place.put(name, content)
        return made


class Guessing(Plain):
    """Takes the first of several."""

    async def find(self, place: ExportPlace, name: str | None = None) -> Export:
        found = await place.names()
        return await super().find(place, name or (found[0].removesuffix(_ENDING) if found else None))


class Short(Plain):
    """Forgets the last page when it is empty or not."""

    async def write(self, place: ExportPlace, pages: AsyncIterator[Sequence[Record]], facts: ExportFacts) -> Export:
        kept = [page async for page in pages][:-1]

        async def fewer() -> AsyncIterator[Sequence[Record]]:
            for page in kept:
                yield page

        return await super().write(place, fewer(), facts)


@pytest.mark.parametrize("faulty", [Trusting, Rounding, Hasty, Guessing, Short])
async def test_a_faulty_format_is_caught(faulty: type[Plain]) -> None:
    """At least one test of the suite fails."""
    assert await _failure(Plain) is None
    assert await _failure(faulty) is not None


async def _failure(layout: type[Plain]) -> str | None:
    """The first test that fails."""
    suite = BackupFormatSuite()
    tests: dict[str, Callable[[], object]] = {
        "parts": lambda: suite.test_every_part_of_a_record_comes_back(layout(), MemoryPlace()),
        "pages": lambda: suite.test_pages_of_any_number_are_one_export(layout(), MemoryPlace()),
        "unfinished": lambda: suite.test_an_unfinished_export_is_not_found(layout(), MemoryPlace()),
        "named": lambda: suite.test_one_of_several_exports_is_named(layout(), MemoryPlace()),
        "flipped": lambda: suite.test_no_damage_is_read_as_if_it_were_whole(layout(), MemoryPlace(), "flipped"),
    }
    for name, test in tests.items():
        try:
            await test()  # type: ignore[misc]  # each gives a coroutine
        except (AssertionError, ValueError, pytest.fail.Exception):
            return name
    return None
