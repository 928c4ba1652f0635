"""The catalog of a store: which entities there are, and the ways to read and write them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from storycore.entities.collections import Collection
from storycore.entities.declaration import Entity
from storycore.entities.repository import Repository
from storycore.entities.soft_deletion import deleted_twin
from storycore.entities.transactions import run_again
from storycore.entities.unit import Unit
from storycore.errors import InvalidArgument
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.suggestions import did_you_mean

__all__ = ["Catalog"]

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)
T = TypeVar("T")


class Catalog:
    """The entities of one store.

    Args:
        entities: where records are kept.
        env: tells the time.
        cursor_key: signs cursors.
        spills: told of every kind the threshold beyond which its bodies leave the record.
    """

    def __init__(
        self, entities: EntityStore, env: Environment, *, cursor_key: bytes, spills: dict[str, int | None]
    ) -> None:
        self.entities = entities
        self.env = env
        self._cursor_key = cursor_key
        self._spills = spills
        self._kinds: dict[str, Entity[Any]] = {}
        self._met: dict[str, Entity[Any]] = {}

    @overload
    def repository(self, entity: Entity[M]) -> Repository[M]: ...

    @overload
    def repository(self, entity: str) -> Repository[Any]: ...

    def repository(self, entity: Entity[M] | str) -> Repository[Any]:
        """The repository of an entity declaration, or of a known kind.

        Raises:
            InvalidArgument: no such kind is known.
        """
        if isinstance(entity, str):
            if entity not in self._kinds:
                raise InvalidArgument(f"There is no kind {entity!r}. {did_you_mean(entity, self.kinds())}")
            entity = self._kinds[entity]
        self._meet(entity)
        return Repository(entity, self.entities, self.env, cursor_key=self._cursor_key)

    @overload
    def collection(self, first: Entity[M], /, *, index: str | None = None) -> Collection[M]: ...

    @overload
    def collection(self, first: Entity[M], second: Entity[N], /, *, index: str | None = None) -> Collection[M | N]: ...

    @overload
    def collection(self, *entities: Entity[Any], index: str | None = None) -> Collection[Any]: ...

    def collection(self, *entities: Entity[Any], index: str | None = None) -> Collection[Any]:
        """Entities that share their partitions, to be read together: ``store.collection(USER, NOTE)``.

        Args:
            index: the name that the index has in all of them; ``None``: by their primary keys.

        Raises:
            ConfigError: they do not share their partitions.
        """
        for entity in entities:
            self._meet(entity)
        return Collection(entities, self.entities, cursor_key=self._cursor_key, index=index)

    def unit(self, *, token: str | None = None) -> Unit:
        """Several reads and writes that happen together or not at all: ``async with store.unit() as u``.

        Args:
            token: makes the unit idempotent for 10 minutes: with it the same writes are done once. 1 to 36 ASCII
                characters.
        """
        return Unit(self.entities, self.env, entities=self._met.values(), meet=self._meet, token=token)

    async def transaction(
        self, change: Callable[[Unit], Awaitable[T]], *, retries: int = 3, token: str | None = None
    ) -> T:
        """Run ``change`` in a unit, and again in a new one while others are faster; returns what it returned.

        Args:
            change: reads and collects writes; it must do nothing else, for it may run several times.
            retries: how often at most it runs again.
            token: as for ``unit``.

        Raises:
            TransactionConflict: others were faster every time, or what is refused would be refused again.
        """
        return await run_again(lambda: self.unit(token=token), change, self.env, retries=retries)

    def kinds(self) -> list[str]:
        """The kinds of entities that the story domain and the plugins declare."""
        return sorted(self._kinds)

    def _know(self, entities: Iterable[Entity[Any]]) -> None:
        """Let entities be reached by their kinds."""
        for entity in entities:
            self._kinds[entity.kind] = entity
            self._meet(entity)

    def _meet(self, entity: Entity[Any]) -> None:
        self._met[entity.kind] = entity
        self._spills[entity.kind] = self._spills[deleted_twin(entity).kind] = entity.spill
