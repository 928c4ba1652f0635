"""The state machine that drives a blob store and the reference with one trace."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches, BlobPage, BlobStore
from storycore.ports.capabilities import Durability
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["KEYS", "BlobMachine", "machine_for"]

_POOL = [
    "a",
    "A",
    "a/",
    "a/b",
    "a/b/c",
    "a//b",
    "a-b",
    "a0",
    "..",
    "a/../b",
    "\u00e9",
    "e\u0301",
    "x" * 180,
    "x" * 180 + "/y",
]
_SEGMENTS = st.sampled_from(["", "a", "B", "..", "a.", "\u00e9", "%", "con", "~", "\n"])
_RARE = st.lists(_SEGMENTS, min_size=1, max_size=4).map("/".join).filter(bool)
KEYS = st.sampled_from(_POOL) | st.sampled_from(_POOL) | st.sampled_from(_POOL) | _RARE
_PREFIXES = ["", "a", "a/", "a/b", "a/b/", "a/.", "x", "\u00e9", "zz"]
_CONTENTS = st.binary(max_size=20) | st.sampled_from([b"x" * 70_000])
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.sampled_from(["text/plain", "image/png; q=1"]),
        "metadata": st.dictionaries(st.sampled_from(["a", "B-c"]), st.sampled_from(["", "x y"])),
    },
)
_LISTINGS = st.fixed_dictionaries(
    {"prefix": st.sampled_from(_PREFIXES), "limit": st.integers(1, 4)},
    optional={"delimiter": st.sampled_from(["/", "b", "a/", "\u00e9"]), "after": KEYS},
)


def machine_for(harness: Harness) -> type[BlobMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("BlobMachineRun", (BlobMachine,), {"origin": harness})


class BlobMachine(StoreMachine):
    """Versions are each adapter's own, so the machine keeps pairs of them and hands in old ones too."""

    origin: ClassVar[Harness]

    @initialize()
    def begin(self) -> None:
        """Open both stores in empty places."""
        self.harness = self.origin.fresh()
        self.subject: BlobStore = self.run(self.harness.started())
        self.model: BlobStore = self.run(Harness(PortName.BLOBS, "memory", {}, self.harness.path).started())
        self.known: list[tuple[BlobInfo, BlobInfo]] = []
        self.writes = 0
        for key in _POOL[::2]:
            self.write(key=key, content=b"planted", headers={"content_type": "text/plain", "metadata": {"a": "b"}})

    @rule(key=KEYS, content=_CONTENTS, headers=_HEADERS)
    def write(self, key: str, content: bytes, headers: dict[str, Any]) -> None:
        """A write without a condition, so that there is something to compare."""
        self._put(key, content, headers, (ANY, ANY), None)

    @rule(
        key=KEYS,
        content=_CONTENTS,
        headers=_HEADERS,
        when=st.integers(0, 9),
        cut=st.none() | st.integers(0, 9),
    )
    def put(self, key: str, content: bytes, headers: dict[str, Any], when: int, cut: int | None) -> None:
        """The same conditions hold and fail, whether the content comes whole or in pieces."""
        self._put(key, content, headers, self._conditions(when), cut)

    @rule(source=KEYS, to=KEYS, when=st.integers(0, 2))
    def copy(self, source: str, to: str, when: int) -> None:
        """The same copies are made and refused."""
        condition = (ANY, ABSENT, PRESENT)[when]
        model = self.outcome(self.model.copy(source, to, when=condition))
        self._compare(model, self.outcome(self.subject.copy(source, to, when=condition)))

    @rule(keys=st.lists(KEYS, max_size=3))
    def delete(self, keys: list[str]) -> None:
        """The same blobs were there."""
        assert self.run(self.model.delete(keys)) == self.run(self.subject.delete(keys))

    @rule(key=KEYS, start=st.integers(0, 5), length=st.none() | st.integers(0, 8))
    def get(self, key: str, start: int, length: int | None) -> None:
        """The same bytes are read."""
        model = self.outcome(content_of(self.model, key, start=start, length=length))
        assert model == self.outcome(content_of(self.subject, key, start=start, length=length))
        assert _told(self.run(self.model.head(key))) == _told(self.run(self.subject.head(key)))

    @rule(listing=_LISTINGS)
    def walk(self, listing: dict[str, Any]) -> None:
        """Pages of any size add up to the same names in the same order."""
        model, subject = self._walked(self.model, listing), self._walked(self.subject, listing)
        assert model == subject

    @rule()
    def reopen(self) -> None:
        """Closing and opening again changes nothing where durability is claimed."""
        if self.subject.capabilities.guarantees.durability is not Durability.PROCESS:
            self.run(self.subject.close())
            self.subject = self.run(self.harness.started())

    def teardown(self) -> None:
        """Close both stores."""
        if hasattr(self, "subject"):
            self.run(self.subject.close())
            self.run(self.model.close())
        super().teardown()

    def _put(
        self,
        key: str,
        content: bytes,
        headers: dict[str, Any],
        when: tuple[BlobCondition, BlobCondition],
        cut: int | None,
    ) -> None:
        """Content is never the same twice, as equal content may share a version."""
        self.writes += 1
        content += b"#%d" % self.writes
        model = self.outcome(self.model.put(key, content, when=when[0], **headers))
        data = content if cut is None else pieces(content[:cut], b"", content[cut:])
        self._compare(model, self.outcome(self.subject.put(key, data, when=when[1], **headers)))

    def _conditions(self, when: int) -> tuple[BlobCondition, BlobCondition]:
        if when < 2:
            condition = (ABSENT, PRESENT)[when]
            return condition, condition
        model, subject = self.known[-1 - when % len(self.known)]
        return BlobMatches(model.version), BlobMatches(subject.version)

    def _compare(self, model: object, subject: object) -> None:
        assert _told(model) == _told(subject)
        if isinstance(model, BlobInfo) and isinstance(subject, BlobInfo):
            self.known.append((model, subject))

    def _walked(self, store: BlobStore, listing: dict[str, Any]) -> list[object]:
        found: list[object] = []
        where = dict(listing)
        while True:
            page: BlobPage = self.run(store.entries(**where))
            assert len(page.blobs) + len(page.prefixes) <= where["limit"]
            found += sorted([*map(_named, page.blobs), *((prefix.encode(), "") for prefix in page.prefixes)])
            if page.next is None:
                return found
            assert page.next.encode() > where.get("after", "").encode(), "the listing does not get on"
            where["after"] = page.next


def _named(info: BlobInfo) -> tuple[bytes, str]:
    return info.key.encode(), info.sha256


def _told(result: object) -> object:
    """What two adapters must agree on: all but the version and the instant."""
    if isinstance(result, BlobInfo):
        return result.key, result.size_bytes, result.sha256, result.content_type, dict(result.metadata)
    return result
