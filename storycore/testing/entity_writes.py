"""What an entity store promises about single writes: what is stored, conditions, versions, patches."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from storycore.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidKey,
    NotFound,
    StorycoreError,
    TooLarge,
    TransactionConflict,
    VersionConflict,
)
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches, Version
from storycore.ports.entities import Delete, EntityStore, Key, Patch, Put, Written
from storycore.ports.index_order import INDEX_PLACE_BYTES
from storycore.testing.entity_examples import FIELDS, ORDERED, content, find, key, put, write
from storycore.testing.entity_limits import refused

__all__ = ["EntityWrites"]

UNKNOWN = Version(2**62)
"""A version that no store has issued in a test."""

REFUSED: dict[str, tuple[bool, Condition, type[StorycoreError]]] = {
    "absent over a record": (True, ABSENT, AlreadyExists),
    "present over nothing": (False, PRESENT, NotFound),
    "another version": (True, Matches(UNKNOWN), VersionConflict),
    "a version over nothing": (False, Matches(UNKNOWN), VersionConflict),
}
"""Whether a record is there, what a write demands, and how it is refused."""

ADDED: list[tuple[Any, Any, Any]] = [
    (None, 3, 3),
    (None, Decimal("0.5"), Decimal("0.5")),
    (1, 2, 3),
    (1, -3, -2),
    (2**63 - 1, 1, 2**63),
    (10**38 - 2, 1, 10**38 - 1),
    (1, Decimal("0.5"), Decimal("1.5")),
    (Decimal("0.1"), Decimal("0.2"), Decimal("0.3")),
    (Decimal("0.1"), 1, Decimal("1.1")),
    (0.1, Decimal("0.2"), 0.3),
    (0.5, 1, 1.5),
    (Decimal("1E+125"), Decimal("1E+125"), Decimal("2E+125")),
    (Decimal("1E+37"), Decimal("1"), Decimal("10000000000000000000000000000000000001")),
]
"""What is stored, what is added, and the sum, with its type."""

NOT_ADDED: list[tuple[Any, Any]] = [
    ("1", 1),
    (True, 1),
    (frozenset({"a"}), 1),
    (10**38 - 1, 2),
    (Decimal("9E+125"), Decimal("9E+125")),
    (Decimal("1E+38"), Decimal("0.5")),
]
"""What is stored and what cannot be added to it."""


@pytest.mark.asyncio
class EntityWrites:
    """The part of the EntityStore suite that writes."""

    # What is written is stored.

    async def test_a_record_comes_back_as_it_was_put(self, store: EntityStore) -> None:
        """Kind, expiry, index keys, fields and body survive, and nothing is added."""
        far = datetime(2096, 2, 29, 23, 59, 59, 123_456, tzinfo=UTC)
        given = put(
            "a", kind="story", expires_at=far, index_keys={1: key("x"), 8: key("y")}, fields={"f": 1}, body=b"b"
        )
        (written,) = await write(store, given)
        stored = await find(store, "a")
        assert content(given) == content(stored) == content(written.record)
        assert stored is not None
        assert written == Written(key=key("a"), version=stored.version, created=True, record=stored)

    async def test_an_empty_record_comes_back_empty(self, store: EntityStore) -> None:
        """A record needs nothing but a key and a kind."""
        await write(store, put("a"))
        assert content(put("a")) == content(await find(store, "a"))

    async def test_a_field_comes_back_equal_and_of_its_type(self, store: EntityStore) -> None:
        """Numbers are exact, and text, bool, int, float and Decimal stay apart."""
        given = put("all", fields={f"f {name}": value for name, value in FIELDS.items()})
        (written,) = await write(store, given)
        assert content(given) == content(written.record) == content(await find(store, "all"))
        for name, value in FIELDS.items():
            await write(store, put("one", fields={"f": value}))
            assert content(put("one", fields={"f": value})) == content(await find(store, "one")), name

    async def test_field_names_are_kept(self, store: EntityStore) -> None:
        """Any text is a field name that does not begin with an underscore, reserved words of databases too."""
        names = [
            "name",
            "select",
            "a.b",
            "a-b",
            "a b",
            "#a",
            ":a",
            "$a",
            "[0]",
            "é",
            "👩‍🚀",
            "x" * 255,
            "id",
            "pk",
            "version",
        ]
        given = put("a", fields={name: i for i, name in enumerate(names)})
        await write(store, given)
        assert content(given) == content(await find(store, "a"))

    async def test_a_body_is_opaque(self, store: EntityStore) -> None:
        """Any bytes come back unchanged."""
        for body in (b"", b"\0", bytes(range(256)), b"x" * 300 * 1024):
            await write(store, put("a", body=body))
            stored = await find(store, "a")
            assert stored is not None
            assert body == stored.body

    async def test_keys_are_kept_apart_character_by_character(self, store: EntityStore) -> None:
        """No key is taken for another: no trimming, folding, normalising, or joining of the two parts."""
        keys = [Key(pk, sk) for pk in ORDERED for sk in ("a", "a ", "A")] + [Key("a", "bc"), Key("ab", "c")]
        for start in range(0, len(keys), 50):
            await store.write([Put(key=k, kind="k", body=repr(k).encode()) for k in keys[start : start + 50]])
        found = await store.get(keys)
        assert [repr(k).encode() for k in keys] == [None if record is None else record.body for record in found]

    async def test_the_largest_keys_are_kept(self, store: EntityStore) -> None:
        """2048 bytes of pk and 1024 of sk are allowed, and 1024 for the three keys that an index orders by."""
        largest, listed = Key("é" * 1024, "x" * 1024), Key("a", "b")
        place = Key("é" * 1024, "x" * (INDEX_PLACE_BYTES - 4))
        await write(store, Put(key=largest, kind="k"), Put(key=listed, kind="k", index_keys={1: place}))
        assert None not in await store.get([largest, listed])
        with pytest.raises(InvalidKey):
            await write(store, Put(key=listed, kind="k", index_keys={1: Key("a", place.sk + "x")}))

    async def test_a_put_replaces_everything(self, store: EntityStore) -> None:
        """What the new record does not say is gone."""
        await write(store, put("a", kind="old", index_keys={1: key("x")}, fields={"f": 1, "g": 2}, body=b"b"))
        (written,) = await write(store, put("a", fields={"g": 3}))
        assert content(put("a", fields={"g": 3})) == content(await find(store, "a")) == content(written.record)
        assert written.created is False

    async def test_a_stored_record_is_nobody_elses(self, store: EntityStore) -> None:
        """Changing what was handed in or out changes nothing in the store."""
        fields: dict[str, Any] = {"f": 1}
        (written,) = await write(store, put("a", fields=fields))
        fields["f"] = 2
        for record in (written.record, await find(store, "a")):
            seen: Any = record
            if isinstance(seen.fields, dict):
                seen.fields["f"] = 3
        assert content(put("a", fields={"f": 1})) == content(await find(store, "a"))

    async def test_an_instant_of_another_zone_is_the_same_instant(self, store: EntityStore) -> None:
        """An expiry in any time zone comes back as the same instant in UTC."""
        east = datetime(2100, 1, 1, 5, 45, tzinfo=timezone(timedelta(hours=5, minutes=45)))
        await write(store, put("a", expires_at=east))
        stored = await find(store, "a")
        assert stored is not None
        assert stored.expires_at is not None
        assert (east, timedelta(0)) == (stored.expires_at, stored.expires_at.utcoffset())

    # Conditions.

    @pytest.mark.parametrize("atomic", [False, True])
    @pytest.mark.parametrize("form", ["put", "patch", "delete"])
    async def test_a_refused_write_leaves_no_trace(self, store: EntityStore, form: str, atomic: bool) -> None:
        """A condition that does not hold raises its error, inside ``TransactionConflict`` when atomic."""
        for name, (there, when, error) in REFUSED.items():
            if form == "patch" and when == ABSENT:
                continue
            if there:
                await write(store, put(name, body=b"old"))
            before = await find(store, name)
            forms: dict[str, Any] = {
                "put": put(name, body=b"new", when=when),
                "patch": Patch(key=key(name), body=b"new", when=when),
            }
            change = forms.get(form, Delete(key=key(name), when=when))
            with pytest.raises(TransactionConflict if atomic else error) as caught:
                await write(store, change, atomic=atomic)
            reason = caught.value.reasons[0] if isinstance(caught.value, TransactionConflict) else caught.value
            assert type(reason) is error, name
            if isinstance(reason, VersionConflict):
                assert (None if before is None else before.version) == reason.current
            assert before == await find(store, name), name

    async def test_a_write_goes_on_where_its_condition_holds(self, store: EntityStore) -> None:
        """``ANY``, ``PRESENT`` and ``Matches`` of the current version let a write over a record."""
        for form, when in itertools.product(("put", "patch", "delete"), (ANY, PRESENT, None)):
            (written,) = await write(store, put("a"))
            assert written.version is not None
            condition = Matches(written.version) if when is None else when
            forms: dict[str, Any] = {"put": put("a", when=condition), "patch": Patch(key=key("a"), when=condition)}
            (again,) = await write(store, forms.get(form, Delete(key=key("a"), when=condition)))
            assert again.created is False

    async def test_absent_creates(self, store: EntityStore) -> None:
        """``Put(when=ABSENT)`` creates once, and again after a delete."""
        assert (await write(store, put("a", when=ABSENT)))[0].created
        with pytest.raises(AlreadyExists):
            await write(store, put("a", when=ABSENT))
        await write(store, Delete(key=key("a")))
        assert (await write(store, put("a", when=ABSENT)))[0].created

    async def test_an_old_version_never_matches_again(self, store: EntityStore) -> None:
        """A version of a deleted record does not match the record that was created anew."""
        (first,) = await write(store, put("a"))
        assert first.version is not None
        await write(store, Delete(key=key("a")))
        await write(store, put("a"))
        with pytest.raises(VersionConflict):
            await write(store, put("a", when=Matches(first.version)))

    # Versions.

    async def test_versions_grow_with_every_write_of_a_key(self, store: EntityStore) -> None:
        """Put, patch, delete and re-create: each version is positive, below 2**63, and above the last."""
        versions: list[Version | None] = []
        for _ in range(3):
            versions += [written.version for written in await write(store, put("a"))]
            versions += [written.version for written in await write(store, Patch(key=key("a")))]
            versions += [written.version for written in await write(store, put("a"), atomic=True)]
            await write(store, Delete(key=key("a")))
        numbers = [version for version in versions if version is not None]
        assert (numbers, 9) == (sorted(set(numbers)), len(numbers))
        assert 0 < numbers[0] < numbers[-1] < 2**63

    async def test_a_version_that_nobody_issued_does_no_harm(self, store: EntityStore) -> None:
        """Whatever a caller expects, the versions that follow are far below 2**63."""
        await write(store, put("a"))
        foreign = Matches(Version(2**63 - 1))
        for name in ("a", "none"):
            with pytest.raises(VersionConflict):
                await write(store, put(name, when=foreign))
            with pytest.raises(VersionConflict):
                await write(store, Patch(key=key(name), when=foreign))
            with pytest.raises(TransactionConflict):
                await write(store, Delete(key=key(name), when=foreign), atomic=True)
        written = [await write(store, put(name)) for name in ("a", "none", "other")]
        assert all(0 < (each.version or 0) < 2**62 for (each,) in written)

    async def test_a_returned_version_is_the_stored_one(self, store: EntityStore) -> None:
        """What ``Written`` and its record say is what a read finds."""
        for change in (put("a"), put("a"), Patch(key=key("a"), set={"f": 1})):
            (written,) = await write(store, change)
            stored = await find(store, "a")
            assert stored is not None
            assert stored == written.record
            assert stored.version == written.version

    # Delete.

    async def test_delete_removes_and_tells_what_was_there(self, store: EntityStore) -> None:
        """The record is gone, the result has its version; deleting what is not there is no error."""
        (written,) = await write(store, put("a"))
        (gone,) = await write(store, Delete(key=key("a")))
        assert gone == Written(key=key("a"), version=written.version)
        assert await find(store, "a") is None
        assert await write(store, Delete(key=key("a"))) == [Written(key=key("a"), version=None)]

    # Patch.

    async def test_a_patch_changes_what_it_names_and_nothing_else(self, store: EntityStore) -> None:
        """Adding, setting and unsetting fields leaves kind, body, index keys, expiry and other fields."""
        far = datetime(2200, 1, 1, tzinfo=UTC)
        parts: dict[str, Any] = {"kind": "story", "expires_at": far, "index_keys": {2: key("x")}, "body": b"b"}
        await write(store, put("a", fields={"n": 1, "t": "old", "u": 1, "v": "stays"}, **parts))
        patch = Patch(
            key=key("a"), add={"n": 2, "m": 5}, set={"t": "new", "s": frozenset({"x"})}, unset=frozenset({"u", "w"})
        )
        (written,) = await write(store, patch)
        fields = {"n": 3, "m": 5, "t": "new", "s": frozenset({"x"}), "v": "stays"}
        assert content(put("a", fields=fields, **parts)) == content(await find(store, "a")) == content(written.record)

    async def test_a_patch_replaces_body_index_keys_and_expiry(self, store: EntityStore) -> None:
        """Index keys are replaced all at once; ``None`` removes the expiry; fields stay."""
        far = datetime(2200, 1, 1, tzinfo=UTC)
        await write(
            store, put("a", fields={"f": 1}, index_keys={1: key("x"), 2: key("y")}, expires_at=far, body=b"old")
        )
        await write(store, Patch(key=key("a"), body=b"", index_keys={3: key("z")}, expires_at=None))
        assert content(put("a", fields={"f": 1}, index_keys={3: key("z")})) == content(await find(store, "a"))

    async def test_a_sum_is_exact(self, store: EntityStore) -> None:
        """A patch adds in decimal arithmetic; a missing field counts as 0; the field keeps its type."""
        for stored, amount, total in ADDED:
            await write(store, put("a", fields={} if stored is None else {"f": stored}))
            await write(store, Patch(key=key("a"), add={"f": amount}))
            assert content(put("a", fields={"f": total})) == content(await find(store, "a")), (stored, amount)

    async def test_what_cannot_be_added_is_refused(self, store: EntityStore) -> None:
        """A patch that adds to what is no number, or beyond 38 digits, is refused and leaves no trace."""
        for stored, amount in NOT_ADDED:
            await write(store, put("a", fields={"f": stored, "g": 1}))
            patch = Patch(key=key("a"), set={"g": 2}, add={"f": amount})
            with refused(InvalidArgument, f"{stored!r} + {amount!r}"):
                await write(store, patch)
            with pytest.raises(TransactionConflict) as caught:
                await write(store, put("b"), patch, atomic=True)
            assert {1: InvalidArgument} == {i: type(error) for i, error in caught.value.reasons.items()}
            assert content(put("a", fields={"f": stored, "g": 1})) == content(await find(store, "a"))
            assert await find(store, "b") is None

    async def test_a_patch_never_creates(self, store: EntityStore) -> None:
        """``ANY`` counts as ``PRESENT``."""
        for when in (ANY, PRESENT):
            with pytest.raises(NotFound):
                await write(store, Patch(key=key("a"), set={"f": 1}, when=when))
        assert await find(store, "a") is None

    async def test_a_patch_must_not_grow_a_record_beyond_the_limit(self, store: EntityStore) -> None:
        """400 KiB hold for the record that a patch leaves behind, which names its largest parts."""
        await write(store, put("a", body=b"x" * 300 * 1024))
        with pytest.raises(TooLarge) as caught:
            await write(store, Patch(key=key("a"), set={"f": "y" * 200 * 1024}))
        assert list(caught.value.breakdown)[:2] == ["body", "fields[f]"]
        assert content(put("a", body=b"x" * 300 * 1024)) == content(await find(store, "a"))
