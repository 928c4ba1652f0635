"""Units of work: several reads and writes of instances, of any entities, that happen together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Self, TypeAlias, TypeVar

from pydantic import BaseModel

from storycore.entities.addresses import KeyLike, address_of
from storycore.entities.codec import from_record
from storycore.entities.commits import Gathered, commit
from storycore.entities.declaration import Entity
from storycore.entities.intents import DeleteIntent, Intent, PatchIntent, Pending, PutIntent
from storycore.entities.patching import Changes
from storycore.entities.planning import Claim, Planner, not_found
from storycore.entities.repository import Repository
from storycore.entities.uniqueness import NOTHING
from storycore.errors import InvalidArgument, TooLarge
from storycore.filters import as_filter
from storycore.layers.checks.writes import check_condition
from storycore.ports.conditions import ABSENT, ANY, Condition
from storycore.ports.entities import EntityStore, Key, Record
from storycore.ports.environment import Environment
from storycore.ports.filters import Filter

__all__ = ["Declared", "Unit"]

M = TypeVar("M", bound=BaseModel)

Declared: TypeAlias = Entity[M] | Repository[M]
"""Which entity is meant: its declaration, or a repository of it."""

_MOST_WRITES = 100


class Unit:
    """Several reads and writes as one: ``async with store.unit() as u``.

    Writes are collected and sent once, when the block ends; an exception in the block leaves everything as it is. What
    was read is read again in the same step: had somebody changed it meanwhile, nothing is written. A unit reads from
    the store itself and gives the same answer again, except that it sees what it is going to put or delete. Listings
    are no part of it. A unit that only reads sends nothing.

    Every key can be written once; a put replaces what was put or created, and patches that do not touch the same fields
    are joined. Instances are stamped after the unit was written, and remain as they are if it is refused.

    Args:
        store: where records are kept; borrowed.
        env: tells the time.
        entities: what an instance may be of, when ``create`` and ``put`` are not told.
        meet: told of every further entity that the unit hears of.
        token: makes the unit idempotent for 10 minutes: with it the same writes are done once. 1 to 36 ASCII
            characters.
    """

    def __init__(
        self,
        store: EntityStore,
        env: Environment,
        *,
        entities: Iterable[Entity[Any]] = (),
        meet: Callable[[Entity[Any]], None] = lambda entity: None,
        token: str | None = None,
    ) -> None:
        self._store = store
        self._env = env
        self._token = token
        self._meet = meet
        self._entities = {entity.kind: entity for entity in entities}
        self._gathered = Gathered()
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self._require_open()
        self._is_over = True
        if kind is None and self._gathered.is_wanted:
            await commit(self._store, self._env, self._gathered, self._token)

    # reading

    async def get(self, entity: Declared[M], key: KeyLike | None = None, /, **parts: object) -> M:
        """The instance under a key, which must not change until the unit is written.

        Raises:
            NotFound: there is none.
            TooLarge: the unit is full.
        """
        declared = self._declared(entity)
        found = await self.find(declared, key, **parts)
        if found is None:
            raise not_found(declared.kind, address_of(declared, key, parts))
        return found

    async def find(self, entity: Declared[M], key: KeyLike | None = None, /, **parts: object) -> M | None:
        """The instance under a key, or ``None``, which must remain so until the unit is written."""
        self._require_open()
        declared = self._declared(entity)
        address = address_of(declared, key, parts)
        intent = self._gathered.intents.get(address)
        if isinstance(intent, PutIntent):
            found: M = intent.instance
            return found
        if intent is not None:
            if isinstance(intent, DeleteIntent):
                return None
            raise InvalidArgument(f"The unit patches the {declared.kind} already; read it before, or put it instead.")
        record = await self._read(declared, address)
        return None if record is None else from_record(declared, record)

    # writing

    def create(self, instance: M, *, of: Declared[M] | None = None) -> Pending[M]:
        """Store a new instance; its key must be free.

        Args:
            of: the entity, where the model alone does not tell it.

        Raises:
            InvalidArgument, InvalidKey: it cannot be stored, or the unit does something else with its key.
            TooLarge: the unit is full.
        """
        return self._put(instance, ABSENT, of, "creation")

    def put(self, instance: M, *, when: Condition | None = None, of: Declared[M] | None = None) -> Pending[M]:
        """Store an instance whole, as it is now; by default over the version it was loaded or saved under.

        Raises:
            InvalidArgument, InvalidKey: it cannot be stored, or the unit does something else with its key.
            TooLarge: the unit is full.
        """
        return self._put(instance, when, of, "put")

    def patch(
        self,
        entity: Declared[M],
        key: KeyLike | None = None,
        /,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002 - the verb of the port
        add: Mapping[str, int | float | Decimal] | None = None,
        unset: Sequence[str] = (),
        include: Mapping[str, Collection[str]] | None = None,
        exclude: Mapping[str, Collection[str]] | None = None,
        when: Filter | Mapping[str, object] | None = None,
        **parts: object,
    ) -> Pending[M]:
        """Change some fields of a stored instance; arguments as for ``Repository.patch``.

        Counting alone reads nothing and cannot conflict. All else is read when the unit ends, if it was not before.

        Raises:
            InvalidArgument: a field is unknown, or the unit does something else with the key.
            TooLarge: the unit is full.
        """
        self._require_open()
        declared = self._declared(entity)
        changes = Changes(set or {}, add or {}, unset, as_filter(when), include or {}, exclude or {})
        changes.check(declared)
        address = address_of(declared, key, parts)
        before = self._gathered.intents.get(address)
        if isinstance(before, PatchIntent):
            before.changes = before.changes.joined(changes)
            joined: Pending[M] = before.pending
            return joined
        intent = PatchIntent(self._planner(declared), address, changes)
        self._add(intent, declared)
        return intent.pending

    def delete(
        self, entity: Declared[M], key: KeyLike | None = None, /, *, when: Condition | None = None, **parts: object
    ) -> Pending[bool]:
        """Remove an instance; one that was loaded or saved only in that version. The result tells if there was one.

        Raises:
            InvalidArgument: the unit does something else with the key.
            TooLarge: the unit is full.
        """
        declared = self._declared(entity)
        planner = self._planner(declared)
        if isinstance(key, declared.model) and not parts:
            claim = planner.claim(key, when)
        else:
            when = ANY if when is None else when
            check_condition(when)
            claim = Claim(address_of(declared, key, parts), when, None if declared.unique else NOTHING)
        intent = DeleteIntent(planner, claim)
        self._add(intent, declared)
        return intent.pending

    def check_absent(self, entity: Declared[M], key: KeyLike | None = None, /, **parts: object) -> None:
        """Let the unit be refused unless there is no instance under a key.

        Raises:
            InvalidArgument: the unit writes the key.
            TooLarge: the unit is full.
        """
        self._require_open()
        declared = self._declared(entity)
        address, found = address_of(declared, key, parts), self._gathered
        if address in found.intents:
            raise InvalidArgument(f"The unit writes this {declared.kind}; create() checks by itself that it is absent.")
        if found.reads.get(address) is not None:
            raise InvalidArgument(f"The unit has read this {declared.kind}, so it is not absent.")
        self._make_room(1 - (address in found.conditions))
        found.absent.add(address)
        found.name(address, "absence", declared.kind)

    # collecting

    def _put(self, instance: M, when: Condition | None, of: Declared[M] | None, verb: str) -> Pending[M]:
        self._require_open()
        declared = self._entity_of(instance) if of is None else self._declared(of)
        planner = self._planner(declared)
        claim = planner.claim(instance, when)
        before = self._gathered.intents.get(claim.key)
        if isinstance(before, PutIntent) and when != ABSENT and claim.when in (ANY, before.claim.when):
            intent = PutIntent(planner, instance, before.claim, before.verb, before.pending)
            self._make_room(intent.least - before.least)
            self._gathered.intents[claim.key] = intent
        else:
            intent = PutIntent(planner, instance, claim, verb)
            self._add(intent, declared)
        return intent.pending

    def _add(self, intent: Intent, entity: Entity[Any]) -> None:
        self._require_open()
        key, found = intent.key, self._gathered
        if key in found.intents:
            raise InvalidArgument(
                f"The unit holds a {found.intents[key].verb} of this {entity.kind} already and cannot add a "
                f"{intent.verb}; do it in one step, or in a unit of its own."
            )
        if key in found.absent and not (isinstance(intent, PutIntent) and intent.claim.when == ABSENT):
            raise InvalidArgument(f"The unit checks that this {entity.kind} is absent; only create() goes with that.")
        self._make_room(intent.least - (key in found.conditions))
        found.intents[key] = intent
        found.name(key, intent.verb, entity.kind)

    def _make_room(self, more: int) -> None:
        """Refuse what would be the 101st write: each record, marker and check, and the token, counts as one."""
        size = self._gathered.size + (self._token is not None) + more
        if size > _MOST_WRITES:
            raise TooLarge(
                f"A unit holds at most {_MOST_WRITES} writes, with markers, checks and token, not {size}; split it.",
                limit=_MOST_WRITES,
                actual=size,
            )

    async def _read(self, entity: Entity[Any], key: Key) -> Record | None:
        found = self._gathered
        if key not in found.reads:
            self._make_room(1 - (key in found.conditions))
            [record] = await self._store.get([key], consistent=True)
            found.reads.setdefault(key, record)
            found.name(key, "read", entity.kind)
        return found.reads[key]

    def _declared(self, entity: Declared[M]) -> Entity[M]:
        declared = entity.entity if isinstance(entity, Repository) else entity
        if not isinstance(declared, Entity):
            raise InvalidArgument(f"Name an entity or its repository, not a {type(entity).__name__}.")
        if declared.kind not in self._entities:
            self._entities[declared.kind] = declared
            self._meet(declared)
        return declared

    def _entity_of(self, instance: M) -> Entity[M]:
        found = [entity for entity in self._entities.values() if entity.model is type(instance)]
        if len(found) == 1:
            return found[0]
        problem = "several entities are" if found else "no known entity is"
        raise InvalidArgument(f"{problem.capitalize()} made of {type(instance).__name__}; name it with of=.")

    def _planner(self, entity: Entity[M]) -> Planner[M]:
        return Planner(entity, self._env.clock)

    def _require_open(self) -> None:
        if self._is_over:
            raise InvalidArgument("The unit is over; make a new one with store.unit().")
