"""What happens behind a blob store's back: other tools read, damage and remove what it keeps.

An adapter whose storage others can reach gives its suite a ``back_door``; the machine then also goes in and out there,
and demands that the store never gives out what is not the blob.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import rule

from storycore.errors import Corrupt
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.testing.blob_examples import content_of
from storycore.testing.blob_machine import KEYS, BlobMachine
from storycore.testing.harness import Harness

__all__ = ["BackDoor", "BackDoorMachine", "machine_with"]

_CHANGES: Final[list[Callable[[bytes], bytes]]] = [
    lambda content: bytes([content[0] ^ 1]) + content[1:],
    lambda content: content[: len(content) // 2],
    lambda content: content + b"more",
    lambda content: b"",
]


class BackDoor(Protocol):
    """A way to what a store keeps, past the adapter; its methods block."""

    def content(self, key: str) -> bytes | None:
        """What another tool reads; ``None``: there is nothing."""
        ...

    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change the content of a blob that is there, and nothing else about it."""
        ...

    def remove(self, key: str) -> None:
        """Let nothing be there."""
        ...


def machine_with(harness: Harness, back_door: Callable[[BlobStore, Harness], BackDoor | None]) -> type[BackDoorMachine]:
    """The machine for one adapter that has a back door."""
    door = staticmethod(back_door)
    return type("BackDoorMachineRun", (BackDoorMachine,), {"origin": harness, "back_door": door})


class BackDoorMachine(BlobMachine):
    """The machine that also works behind the store's back."""

    back_door: ClassVar[Callable[[BlobStore, Harness], BackDoor | None]]

    @rule(key=KEYS)
    def look_behind(self, key: str) -> None:
        """Another tool sees the content of the blob, or nothing."""
        held = self.run(self.model.head(key))
        wanted = None if held is None else self.run(content_of(self.model, key))
        assert self._door.content(key) == wanted

    @rule(key=KEYS, change=st.sampled_from(_CHANGES))
    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Damaged content is ``Corrupt``, and putting the blob again cures it."""
        if self.run(self.model.head(key)) is None:
            return
        self._door.damage(key, change)
        assert self.outcome(content_of(self.subject, key)) is Corrupt
        self._put(key, b"cured", {}, (ANY, ANY), None)
        assert self.run(content_of(self.subject, key)) == self.run(content_of(self.model, key))

    @rule(key=KEYS)
    def lose(self, key: str) -> None:
        """What others have removed is gone for all calls."""
        self._door.remove(key)
        self.run(self.model.delete([key]))
        assert self.run(self.subject.head(key)) is None
        assert self.outcome(content_of(self.model, key)) == self.outcome(content_of(self.subject, key))
        assert self.run(self.subject.delete([key])) == [False]

    @property
    def _door(self) -> BackDoor:
        door = type(self).back_door(self.subject, self.harness)
        assert door is not None
        return door
