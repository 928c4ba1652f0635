"""Commits: what a unit has gathered is sent as one atomic write, and its results come back to where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storycore.entities.assembly import Assembly, Part, refused
from storycore.entities.intents import Intent
from storycore.entities.steps import Companion
from storycore.entities.writing import ATTEMPTS, pause
from storycore.errors import ConditionFailed, NotFound, Retry, StorycoreError, TransactionConflict
from storycore.ports.conditions import ABSENT, Condition, Matches
from storycore.ports.entities import Check, EntityStore, Key, Record, Written
from storycore.ports.environment import Environment

__all__ = ["Gathered", "commit", "may_pass"]


@dataclass(slots=True)
class Gathered:
    """What a unit is about.

    Args:
        intents: what is written, by key, in order.
        reads: what was read.
        absent: what has to be absent.
        titles: what is done with each key, for messages.
    """

    intents: dict[Key, Intent] = field(default_factory=dict)
    reads: dict[Key, Record | None] = field(default_factory=dict)
    absent: set[Key] = field(default_factory=set)
    titles: dict[Key, str] = field(default_factory=dict)

    @property
    def is_wanted(self) -> bool:
        """Whether there is more than reads."""
        return bool(self.intents or self.absent)

    @property
    def conditions(self) -> dict[Key, Condition]:
        """What reads and checks demand of keys that are not written."""
        demanded: dict[Key, Condition] = {
            key: ABSENT if record is None else Matches(record.version) for key, record in self.reads.items()
        }
        demanded.update(dict.fromkeys(self.absent, ABSENT))
        return {key: when for key, when in demanded.items() if key not in self.intents}

    @property
    def size(self) -> int:
        """How many writes and checks it takes at least."""
        return sum(intent.least for intent in self.intents.values()) + len(self.conditions)

    def name(self, key: Key, verb: str, kind: str) -> None:
        """Remember what is done with a key."""
        self.titles[key] = f"{verb} of the {kind} ({key.pk!r}, {key.sk!r})"


async def commit(store: EntityStore, env: Environment, gathered: Gathered, token: str | None) -> None:
    """Send everything, again while others are faster in what was read only for that.

    Raises:
        TransactionConflict: it was refused; ``reasons`` by the position of the write in the unit, and those of reads
            and checks behind.
    """
    for attempt in range(ATTEMPTS):
        late = [key for key, i in gathered.intents.items() if i.needs_record and key not in gathered.reads]
        records = dict(zip(late, await store.get(late, consistent=True) if late else [], strict=True))
        try:
            return await _send(store, gathered, {**gathered.reads, **records}, token)
        except TransactionConflict as exc:
            keys = [*gathered.intents]
            is_late = all(n < len(keys) and keys[n] in records and may_pass(r) for n, r in exc.reasons.items())
            if not is_late or attempt == ATTEMPTS - 1:
                raise
        await pause(env, attempt)
    raise AssertionError("the last attempt returns or raises")


def may_pass(reason: StorycoreError) -> bool:
    """Whether the same unit may succeed once it reads again."""
    return reason.retry is Retry.SAME


async def _send(store: EntityStore, gathered: Gathered, known: Mapping[Key, Record | None], token: str | None) -> None:
    parts = _parts(gathered, known)
    assembly = Assembly(parts)
    try:
        results = await store.write(assembly.writes, atomic=True, token=token)
    except TransactionConflict as exc:
        raise assembly.conflict(exc.reasons) from exc
    _settle(gathered, assembly, results)


def _parts(gathered: Gathered, known: Mapping[Key, Record | None]) -> list[Part]:
    parts: list[Part] = []
    reasons: dict[int, StorycoreError] = {}
    for number, (key, intent) in enumerate(gathered.intents.items()):
        step = None
        try:
            step = intent.step(known.get(key), is_known=key in known)
        except (NotFound, ConditionFailed) as exc:
            reasons[number] = exc
        parts.append(Part(gathered.titles[key], step, _nothing_there(key) if step is None else step.companions))
    if reasons:
        raise refused(parts, reasons)
    checks = gathered.conditions.items()
    return parts + [Part(gathered.titles[key], None, [Companion(Check(key=key, when=when))]) for key, when in checks]


def _settle(gathered: Gathered, assembly: Assembly, results: Sequence[Written]) -> None:
    for number, intent in enumerate(gathered.intents.values()):
        step = assembly.parts[number].step
        intent.pending.settle(False if step is None else step.settle(results[assembly.own[number]]))


def _nothing_there(key: Key) -> tuple[Companion, ...]:
    """What the deletion of something that was found absent demands, for it writes nothing."""
    return (Companion(Check(key=key, when=ABSENT)),)
