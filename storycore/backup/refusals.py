"""Refusals: what may not be removed, for it is locked or policies forbid it, is told and ends nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from storycore.errors import AccessDenied, PartialFailure

__all__ = ["Refusals"]


class Refusals:
    """The ids of which something was refused, with the reasons."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def needed(self, parents: Mapping[str, str | None]) -> set[str]:
        """What those build on of which something was refused.

        Args:
            parents: id to the id on which it builds, if on any.
        """
        found: set[str] = set()
        for id_ in self.reasons:
            parent = parents.get(id_)
            while parent is not None:
                found.add(parent)
                parent = parents.get(parent)
        return found

    @contextmanager
    def borne(self, id_: str) -> Iterator[None]:
        """A block that removes what belongs to an id: where that is refused it is noted, and the block ends."""
        try:
            yield
        except AccessDenied as exc:
            self.reasons[id_] = exc.message
        except PartialFailure as exc:
            refused = list(exc.errors.values())
            if not all(isinstance(each, AccessDenied) for each in refused):
                raise
            more = "" if len(refused) == 1 else f" So it is with {len(refused) - 1} more."
            self.reasons[id_] = refused[0].message + more
