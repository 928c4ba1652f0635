"""The conformance suite of formats for exports.

Derive from ``BackupFormatSuite``, give it the name under which a plugin brings the format, and pytest does the rest::

    class TestMine(BackupFormatSuite):
        format = "my-format"
        plugins = (my_plugin,)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import strategies as st

from storycore.backup.items import record_item
from storycore.backup.outside import Outside
from storycore.errors import Corrupt, InvalidArgument, NotFound, SchemaMismatch, StorageFull
from storycore.plugins import Plugins
from storycore.ports.backup_formats import BackupFormat, Export, ExportFacts
from storycore.ports.conditions import Version
from storycore.ports.entities import FieldValue, Key, Record
from storycore.testing.properties import for_all

__all__ = ["FACTS", "BackupFormatSuite", "MemoryPlace", "read_all", "records_for_exports", "written"]

FACTS = ExportFacts(id="01795406803692-8f15c499", as_of=datetime(2026, 11, 23, 4, 6, 43, 692_422, UTC), store="kit")
_OTHER = ExportFacts(id="01795406803693-00000000", as_of=FACTS.as_of, store="kit")


class MemoryPlace:
    """A place whose files are entries of ``files``."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def put(self, name: str, data: bytes) -> None:
        """Keep a file."""
        self.files[name] = data

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """A file in small pieces."""
        if name not in self.files:
            raise NotFound(f"There is no file {name}.")
        content = self.files[name]
        for at in range(0, len(content), 700):
            yield content[at : at + 700]

    async def names(self, prefix: str = "") -> list[str]:
        """The names that begin so."""
        return sorted(name for name in self.files if name.startswith(prefix))

    async def remove(self, names: Sequence[str]) -> None:
        """Forget files."""
        for name in names:
            self.files.pop(name, None)


class BackupFormatSuite:
    """What every format of exports promises.

    ``plugins`` are modules or objects with hooks that are not installed.
    """

    format: ClassVar[str]
    plugins: ClassVar[Sequence[object]] = ()

    @pytest.fixture
    def layout(self) -> BackupFormat:
        """The format."""
        return Outside(Plugins(self.plugins)).format(self.format)

    @pytest.fixture
    def place(self) -> MemoryPlace:
        """An empty place."""
        return MemoryPlace()

    @pytest.mark.asyncio
    async def test_what_was_written_is_read(self, layout: BackupFormat) -> None:
        """Any records come back whole, with the types of their fields."""

        async def check(records: Sequence[Record]) -> None:
            place = MemoryPlace()
            made = await written(layout, place, [records])
            assert await read_all(layout, place) == items(records)
            assert made.items >= len(records)

        await for_all(check, examples=40, records=st.lists(records_for_exports(), max_size=6, unique_by=_key_of))

    @pytest.mark.asyncio
    async def test_every_part_of_a_record_comes_back(self, layout: BackupFormat, place: MemoryPlace) -> None:
        """Equal numbers of all types, an expiry to the microsecond, index keys, and bodies that are no text."""
        key, at = Key("p", "s"), datetime(2100, 1, 1, microsecond=1, tzinfo=UTC)
        fields: Mapping[str, FieldValue] = {
            "int": 1,
            "float": 1.0,
            "decimal": Decimal(1),
            "bool": True,
            "set": frozenset({"1"}),
            "text": "1",
        }
        records = [
            Record(key=key, kind="note", version=Version(1), fields=fields, expires_at=at, body=b"\xff\0"),
            Record(key=Key("p", "t"), kind="note", version=Version(1), index_keys={1: key, 8: Key("a\0", "b\x01")}),
            Record(key=Key("p", "\n\u2028"), kind="note", version=Version(1), body=b"\n\r\xe2\x80\xa8"),
        ]
        await written(layout, place, [records])
        assert await read_all(layout, place) == items(records)

    @pytest.mark.asyncio
    async def test_pages_of_any_number_are_one_export(self, layout: BackupFormat, place: MemoryPlace) -> None:
        """Also where none, or an empty one, was given; the moment comes back to the millisecond."""
        assert (await written(layout, place, [])).is_whole
        assert await read_all(layout, place) == []
        pages = [_records(0, 3), [], _records(3, 1700)]
        await written(layout, place, pages)
        found = await layout.find(place)
        assert abs((found.as_of - FACTS.as_of).total_seconds()) < 0.001
        assert (await read_all(layout, place), found.is_whole) == (items(_records(0, 1700)), True)

    @pytest.mark.asyncio
    async def test_an_unfinished_export_is_not_found(self, layout: BackupFormat, place: MemoryPlace) -> None:
        """Neither the first nor one that replaces another; written again, it leaves the same files as in one go."""
        for _ in range(2):
            with pytest.raises(StorageFull):
                await written(layout, place, [_records(0, 1700)], fails=True)
            with pytest.raises(NotFound):
                await layout.find(place)
            await written(layout, place, [_records(0, 9)])
            assert await read_all(layout, place) == items(_records(0, 9))
        once = MemoryPlace()
        await written(layout, once, [_records(0, 9)])
        assert place.files == once.files

    @pytest.mark.asyncio
    async def test_one_of_several_exports_is_named(self, layout: BackupFormat, place: MemoryPlace) -> None:
        """Without a name nothing is chosen, and a name that nobody has is not found."""
        with pytest.raises(NotFound):
            await layout.find(place)
        one = await written(layout, place, [_records(0, 2)])
        two = await written(layout, place, [_records(0, 5)], facts=_OTHER)
        with pytest.raises(InvalidArgument):
            await layout.find(place)
        with pytest.raises(NotFound):
            await layout.find(place, "nobody")
        assert await read_all(layout, place, one.name) == items(_records(0, 2))
        assert await read_all(layout, place, two.name) == items(_records(0, 5))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "lengthened", "removed"])
    async def test_no_damage_is_read_as_if_it_were_whole(
        self, layout: BackupFormat, place: MemoryPlace, damage: str
    ) -> None:
        """Each file of the export is damaged in turn: it is an error that names the file, or nothing is lost."""
        records = _records(0, 40)
        await written(layout, place, [records])
        for name, content in list(place.files.items()):
            for damaged in _damaged(content, damage):
                if damaged is None:
                    del place.files[name]
                else:
                    place.files[name] = damaged
                try:
                    found = await read_all(layout, place)
                except NotFound:
                    assert damaged is None
                except (Corrupt, SchemaMismatch) as exc:
                    assert name.rpartition("/")[2].partition(".")[0] in exc.message
                else:
                    assert found == items(records), name
                place.files[name] = content


def records_for_exports() -> st.SearchStrategy[Record]:
    """Records of every shape that a store keeps."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    keys = st.builds(Key, text.filter(bool), text.filter(bool))
    values: st.SearchStrategy[FieldValue] = (
        text
        | st.integers(-(10**37), 10**37)
        | st.floats(-1e100, 1e100).map(lambda number: number if abs(number) > 1e-100 else 0.0)
        | st.booleans()
        | st.decimals(-(10**20), 10**20, places=6)
        | st.frozensets(text, min_size=1, max_size=3)
    )
    times = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    return st.builds(
        Record,
        key=keys,
        kind=text.filter(bool),
        version=st.just(Version(7)),
        expires_at=st.none() | times,
        index_keys=st.dictionaries(st.integers(1, 8), keys, max_size=3),
        fields=st.dictionaries(st.sampled_from(["n", "pk", "sk", "d", "ttl", "Item", "größe"]), values, max_size=4),
        body=st.binary(max_size=40) | text.map(str.encode),
    )


async def written(
    layout: BackupFormat,
    place: MemoryPlace,
    pages: Sequence[Sequence[Record]],
    *,
    facts: ExportFacts = FACTS,
    fails: bool = False,
) -> Export:
    """Write an export; with ``fails`` the pages end in an error."""

    async def given() -> AsyncIterator[Sequence[Record]]:
        for page in pages:
            yield page
        if fails:
            raise StorageFull("The pages end here.")

    return await layout.write(place, given(), facts)


async def read_all(layout: BackupFormat, place: MemoryPlace, name: str | None = None) -> list[bytes]:
    """Everything that an export holds, in an order of its own."""
    found: list[Record] = []
    export = await layout.find(place, name)
    for part in export.parts:
        async with aclosing(layout.read(place, export, part)) as pages:
            async for page in pages:
                assert all(isinstance(each, Record) for each in page)
                found += [each for each in page if isinstance(each, Record)]
    return items(found)


def items(records: Sequence[Record]) -> list[bytes]:
    """Records as bytes that are equal where the records are, but for their versions."""
    return sorted(map(record_item, records))


def _key_of(record: Record) -> Key:
    return record.key


def _records(begin: int, end: int) -> list[Record]:
    return [
        Record(key=Key(f"p{n % 7}", f"s{n}"), kind="note", version=Version(1), fields={"n": n}, body=b"%d" % n * 9)
        for n in range(begin, end)
    ]


def _damaged(content: bytes, damage: str) -> list[bytes | None]:
    """A file's content damaged in a few places."""
    size = len(content)
    if damage == "flipped":
        places = sorted({0, size // 3, size // 2, size - 1} - {-1}) if size else []
        return [content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] for at in places]
    if damage == "cut":
        return [content[:at] for at in sorted({size // 2, max(size - 1, 0)}) if at < size]
    return [{"emptied": b"", "lengthened": content + b"\n{}"}.get(damage)]
