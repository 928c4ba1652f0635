"""The catalog of a store: which entities there are, and the ways to read and write them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from storycore.entities.changes import ChangeFeed, ChangeStream, Start
from storycore.entities.collections import Collection
from storycore.entities.declaration import Entity
from storycore.entities.repository import Repository
from storycore.entities.soft_deletion import deleted_twin
from storycore.entities.transactions import run_again
from storycore.entities.unit import Unit
from storycore.entities.upgrading import Upgrader, UpgradeReport
from storycore.errors import InvalidArgument
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.suggestions import did_you_mean

__all__ = ["Catalog"]

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)
T = TypeVar("T")

_LEASE = timedelta(seconds=30)


class Catalog:
    """The entities of one store.

    Args:
        entities: where records are kept, whole.
        raw: the same without what makes records whole, for walks that need their keys alone.
        env: tells the time.
        cursor_key: signs cursors.
        spills: told of every kind the threshold beyond which its bodies leave the record.
        met: told of every declaration.
    """

    def __init__(
        self,
        entities: EntityStore,
        raw: EntityStore,
        env: Environment,
        *,
        cursor_key: bytes,
        spills: dict[str, int | None],
        met: Callable[[Entity[Any]], object],
    ) -> None:
        self.entities = entities
        self._feed = ChangeFeed(entities, raw, env)
        self.env = env
        self._cursor_key = cursor_key
        self._spills = spills
        self._tell = met
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
        [entity] = self._chosen([entity])
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

    @overload
    def changes(
        self,
        *,
        kinds: Sequence[Entity[M]],
        group: str | None = None,
        start: Start = "latest",
        wait: bool = True,
        lease: timedelta = ...,
        longest_pause: float = 1.0,
    ) -> ChangeStream[M]: ...

    @overload
    def changes(
        self,
        *,
        kinds: Sequence[Entity[Any] | str] | None = None,
        group: str | None = None,
        start: Start = "latest",
        wait: bool = True,
        lease: timedelta = ...,
        longest_pause: float = 1.0,
    ) -> ChangeStream[Any]: ...

    def changes(
        self,
        *,
        kinds: Sequence[Entity[Any] | str] | None = None,
        group: str | None = None,
        start: Start = "latest",
        wait: bool = True,
        lease: timedelta = _LEASE,
        longest_pause: float = 1.0,
    ) -> ChangeStream[Any]:
        """What happens to entities, as it happens: ``async for change in store.changes(kinds=[STORY], group="x"): …``.

        At least once, in an order that keeps each key's own. See ``ChangeStream`` for what a group promises.

        Args:
            kinds: declarations or known kinds; ``None``: all that the store knows.
            group: remembers in the store how far it is; of its members one reads at a time.
            start: ``"latest"``, ``"oldest"`` or a change's position; where the group has not been anywhere.
            wait: ``False`` ends the loop where it would have to wait, as suits a job that is run now and then.
            lease: a member of the group who gives no sign of life for so long is taken for dead.
            longest_pause: seconds between two looks at a feed that is silent.

        Raises:
            InvalidArgument: an unknown kind, or an argument out of range.
            FeedGap: raised by the loop where changes that were to be told are no longer kept.
            Unsupported: raised by the loop where the adapter has no change feed.
        """
        entities = self._chosen(kinds)
        return self._feed.stream(
            entities, group=group, start=start, wait=wait, lease=lease, longest_pause=longest_pause
        )

    async def upgrade(
        self,
        *kinds: Entity[Any] | str,
        dry_run: bool = False,
        batch: int = 100,
        per_second: float | None = None,
        resume: str | None = None,
        progress: Callable[[UpgradeReport], None] | None = None,
    ) -> UpgradeReport:
        """Bring stored records to the form that their declarations give now: schema, promoted fields, index keys.

        It is safe beside live traffic, and doing it twice changes nothing the second time. After a new index was
        declared it is complete once this has run. Unique values that nobody holds any more are freed.

        Args:
            kinds: declarations or known kinds; none: all that the store knows.
            dry_run: only count what is outdated.
            batch: how many records are read and written at once, 1 to 1000.
            per_second: rewrite no more records than this in a second.
            resume: of the last report of an upgrade that was interrupted, to go on there.
            progress: called with the report up to now, after each batch.

        Raises:
            InvalidArgument: an unknown kind, or an argument out of range.
        """
        upgrader = Upgrader(self.entities, self.env, self._chosen(kinds or None), raw=self._feed.raw)
        return await upgrader.run(dry_run=dry_run, batch=batch, per_second=per_second, resume=resume, progress=progress)

    def kinds(self) -> list[str]:
        """The kinds of entities that the story domain and the plugins declare."""
        return sorted(self._kinds)

    def _know(self, entities: Iterable[Entity[Any]]) -> None:
        """Let entities be reached by their kinds."""
        for entity in entities:
            self._kinds[entity.kind] = entity
            self._meet(entity)

    def _chosen(self, kinds: Sequence[Entity[Any] | str] | None) -> list[Entity[Any]]:
        """The declarations that were named, or all that have been met.

        Raises:
            InvalidArgument: no such kind is known.
        """
        if kinds is None:
            return list(self._met.values())
        for kind in kinds:
            if isinstance(kind, str) and kind not in self._kinds:
                raise InvalidArgument(f"There is no kind {kind!r}. {did_you_mean(kind, self.kinds())}")
        chosen = [self._kinds[kind] if isinstance(kind, str) else kind for kind in kinds]
        for entity in chosen:
            self._meet(entity)
        return chosen

    def _meet(self, entity: Entity[Any]) -> None:
        if not isinstance(entity, Entity):
            raise InvalidArgument(
                f"Name a declaration that entity() made, or a known kind, not {entity!r:.100}; a model alone does not "
                "tell how it is stored."
            )
        self._met[entity.kind] = entity
        self._tell(entity)
        self._spills[entity.kind] = self._spills[deleted_twin(entity).kind] = entity.spill
