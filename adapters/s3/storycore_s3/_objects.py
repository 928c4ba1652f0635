"""Objects as blobs: what is known of them, their notes, and the conditions of a write."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from storycore.errors import AccessDenied, AlreadyExists, Effect, NotFound, VersionConflict
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.ports.environment import Environment
from storycore_s3._calls import Calls
from storycore_s3._errors import ABSENCES, CONDITIONS
from storycore_s3._failures import Refused
from storycore_s3._names import Names
from storycore_s3._wire import (
    Facts,
    Headers,
    fits,
    info_of,
    note_bytes,
    note_of,
    noted,
    protection,
    quoted,
    read_note,
    unlocking,
    write_of,
)
from storycore_s3.config import S3Config

__all__ = ["Objects", "Seen", "absence", "require", "require_unlocked"]

_ENDED: Final = "NoSuchUpload"
_RACES: Final = 20
_ETAG: Final = re.compile(r"[!#-~ ]*[!#-~]", re.ASCII)
_REMEMBERED: Final = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that is there.

    Args:
        info: of the blob.
        note: the name of its note, where it has one.
        write: which write has made it.
    """

    info: BlobInfo
    note: str | None
    write: str | None


class Objects:
    """The objects of one place.

    Args:
        calls: to the service.
        config: the bucket and its features.
        env: clock and ids.
    """

    def __init__(self, calls: Calls, config: S3Config, env: Environment) -> None:
        self.calls = calls
        self.config = config
        self.env = env
        self.names = Names(config.prefix, config.keys)
        self._notes: dict[str, Facts] = {}

    def place(self, key: str, revision: str | None = None) -> Headers:
        """The arguments that lead to a blob's object."""
        at: Headers = {"Key": self.names.of(key), **unlocking(self.config)}
        return at if revision is None else {**at, "VersionId": revision}

    async def look(self, key: str, revision: str | None = None) -> Seen | None:
        """What is known of a blob, or of what it was."""
        try:
            answer = await self.calls.send("head_object", about=f"blob {key!r}", **self.place(key, revision))
        except Refused as refusal:
            if refusal.code in ABSENCES or (revision is not None and refusal.status == 400):
                return None
            raise self.calls.translated(refusal, f"blob {key!r}") from refusal
        return Seen(await self.info(key, answer), note_of(answer), write_of(answer))

    async def found(self, key: str, revision: str | None = None) -> Seen:
        """As ``look``, where there has to be one.

        Raises:
            NotFound: there is none.
        """
        seen = await self.look(key, revision)
        if seen is None:
            raise absence(key, revision)
        return seen

    async def info(self, key: str, answer: Mapping[str, Any]) -> BlobInfo:
        """The info in an answer, and in the note that it names."""
        note = note_of(answer)
        facts = None if note is None else await self._read(note, key)
        return info_of(key, answer, facts, config=self.config, now=self.env.clock.now())

    def told(self, key: str, answer: Mapping[str, Any], facts: Facts) -> BlobInfo:
        """The info of what was just written."""
        return info_of(key, answer, facts, config=self.config, now=self.env.clock.now())

    async def headers(self, facts: Facts, content_type: str, *, is_whole: bool = True) -> Headers:
        """The headers of a new object; writes the note if one is needed and the facts are whole."""
        common: Headers = {"ContentType": content_type, **protection(self.config)}
        if is_whole and fits(facts):
            return {**common, "Metadata": facts.headers}
        if is_whole:
            await self.write_note(facts)
        return {**common, "Metadata": noted(facts.write)}

    async def write_note(self, facts: Facts) -> None:
        """Write the note of a write, before what it is about can be seen."""
        body = note_bytes(facts)
        await self.calls.send("put_object", Key=self._note_name(facts.write), Body=body, **protection(self.config))

    async def remove_notes(self, notes: list[str]) -> None:
        """Remove notes of objects that are gone."""
        for note in notes:
            await self.calls.send("delete_object", Key=self._note_name(note))

    async def used_notes(self) -> set[str]:
        """The notes that the objects of the place name; asks for the headers of each."""
        used: set[str] = set()
        where: Headers = {"Prefix": self.names.prefix}
        while True:
            answer = await self.calls.send("list_objects_v2", **where)
            keys = [key for each in answer.get("Contents", ()) if (key := self.names.key(each["Key"])) is not None]
            looked = await asyncio.gather(*map(self.look, keys))
            used.update(seen.note for seen in looked if seen is not None and seen.note is not None)
            if not answer.get("IsTruncated"):
                return used
            where["ContinuationToken"] = answer["NextContinuationToken"]

    async def decided(
        self, key: str, when: BlobCondition, write: str, send: Callable[[Headers], Awaitable[BlobInfo]]
    ) -> BlobInfo:
        """Write under a condition: what the caller demands, and what a lock forbids.

        Args:
            write: names the write; what an attempt without an answer has done is recognised by it.
            send: writes with the headers of a condition, and gives the info.

        Raises:
            AlreadyExists, NotFound, VersionConflict: the condition does not hold.
            AccessDenied: what is there is locked.
        """
        for _ in range(_RACES):
            headers = await self._demanding(key, when)
            try:
                return await send(headers)
            except Refused as refusal:
                if refusal.code not in CONDITIONS | ABSENCES | {_ENDED}:
                    raise self.calls.translated(refusal, f"blob {key!r}", effect=refusal.effect) from refusal
                seen = await self.look(key)
                if seen is not None and seen.write == write and refusal.effect is Effect.UNKNOWN:
                    return seen.info  # an attempt whose answer was lost had done it
                if refusal.code == _ENDED:
                    raise self.calls.translated(refusal, f"blob {key!r}", effect=refusal.effect) from refusal
                require(key, when, seen)
        raise self.calls.raced(f"blob {key!r}")

    async def _demanding(self, key: str, when: BlobCondition) -> Headers:
        """The headers of a condition; what has a lock, or cannot be said in a header, is looked at first."""
        is_plain = isinstance(when, BlobMatches) and _ETAG.fullmatch(when.version) is not None
        if not self.config.lock and when != PRESENT:
            if when in (ANY, ABSENT):
                return {} if when == ANY else {"IfNoneMatch": "*"}
            if is_plain and isinstance(when, BlobMatches):
                return {"IfMatch": quoted(when.version)}
        seen = await self.look(key)
        require(key, when, seen)
        require_unlocked(seen)
        return {"IfNoneMatch": "*"} if seen is None else {"IfMatch": quoted(seen.info.version)}

    async def _read(self, note: str, key: str) -> Facts:
        """The facts in a note, which never change."""
        if note not in self._notes:
            try:
                content = await self._note(note)
            except Refused as refusal:
                if refusal.code not in ABSENCES:
                    raise self.calls.translated(refusal, f"blob {key!r}") from refusal
                return Facts(sha256="", modified_at=None, write=note)  # it went with the blob a moment ago
            if len(self._notes) >= _REMEMBERED:
                self._notes.clear()
            self._notes[note] = read_note(content, key)
        return self._notes[note]

    async def _note(self, note: str) -> bytes:
        answer = await self.calls.send("get_object", Key=self._note_name(note), **unlocking(self.config))
        body = answer["Body"]
        try:
            content: bytes = await self.calls.threads.run(body.read)
            return content
        finally:
            body.close()

    def _note_name(self, note: str) -> str:
        return self.names.own(f"notes/{note}")


def absence(key: str, revision: str | None = None) -> NotFound:
    """The error for what is not there."""
    if revision is None:
        return NotFound(f"There is no blob {key!r}.")
    return NotFound(f"There is no revision {revision!r} of a blob {key!r}.")


def require(key: str, when: BlobCondition, seen: Seen | None) -> None:
    """Raise unless a condition holds."""
    if when == ABSENT and seen is not None:
        raise AlreadyExists(f"Blob {key!r} exists already; write with another condition to replace it.")
    if when == PRESENT and seen is None:
        raise NotFound(f"There is no blob {key!r} to replace.")
    if isinstance(when, BlobMatches) and (seen is None or seen.info.version != when.version):
        current = None if seen is None else seen.info.version
        raise VersionConflict(f"Blob {key!r} is not at the demanded version; read it again.", current=current)


def require_unlocked(seen: Seen | None) -> None:
    """Raise if what is there is locked."""
    if seen is not None and seen.info.locked_until is not None:
        raise AccessDenied(f"Blob {seen.info.key!r} is locked until {seen.info.locked_until}.")
