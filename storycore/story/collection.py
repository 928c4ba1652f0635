"""What the repositories of all models have in common: an id leads to an instance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel

from storycore.entities import Repository

__all__ = ["Collection"]

M = TypeVar("M", bound=BaseModel)


class Collection(Generic[M]):
    """Instances of one model by id.

    Args:
        repository: keeps them; it offers every further access pattern.
    """

    def __init__(self, repository: Repository[M]) -> None:
        self.repository = repository

    async def save(self, instance: M) -> M:
        """Store an instance whole, and return it with its new version and timestamps.

        Raises:
            VersionConflict: somebody else changed it since it was loaded; load it again.
            InvalidArgument, TooLarge: it cannot be stored.
        """
        return await self.repository.save(instance)

    async def save_batch(self, instances: Iterable[M]) -> int:
        """Store any number of instances, in few calls; returns how many.

        Raises:
            PartialFailure: some could not be stored, the others are.
            InvalidArgument: one is invalid, or two have the same id; nothing was stored.
        """
        return await self.repository.save_batch(instances)

    async def get(self, id: str, *, consistent: bool = False) -> M:  # noqa: A002 - the domain's own word
        """The instance with that id.

        Args:
            consistent: ask the store itself, not a cache in front of it.

        Raises:
            NotFound: there is none, or it has expired.
        """
        return await self.repository.get(id, consistent=consistent)

    async def find(self, id: str, *, consistent: bool = False) -> M | None:  # noqa: A002 - the domain's own word
        """The instance with that id, or ``None``."""
        return await self.repository.find(id, consistent=consistent)

    async def update(self, id: str, changes: Mapping[str, object]) -> M:  # noqa: A002 - the domain's own word
        """Set some fields of a stored instance, whatever its version, and return it; no field is no change.

        Raises:
            NotFound: there is none.
            InvalidArgument: a field is unknown, or the result is not valid.
        """
        return await self.repository.modify(id, lambda _: changes)

    async def delete(self, id: str) -> bool:  # noqa: A002 - the domain's own word
        """Remove the instance with that id; returns whether there was one."""
        return await self.repository.delete(id)
