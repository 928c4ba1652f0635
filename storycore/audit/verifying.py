"""Verification: walks every chain, and says of everything that is not as it was written what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from storycore.audit.chains import Lines, read
from storycore.audit.keys import AuditKey, unsealed
from storycore.audit.places import Batch, Mark, Place, batch_name, marks
from storycore.audit.records import AuditRecord

__all__ = ["AuditFinding", "AuditReport", "Kind", "Steps", "Walk", "verified"]


class Kind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"
    """A record, or what guards a chain, is not what was written."""
    MISSING = "missing"
    """Records, a chain or its head are not there."""
    REORDERED = "reordered"
    """A record that was written lies where another belongs."""
    FORGED = "forged"
    """An object lies there that no writer has written."""
    CUT = "cut"
    """The end of a chain is not there."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong.

    Args:
        kind: what.
        chain: where; ``""``: it is of no chain.
        detail: in a sentence.
    """

    kind: Kind
    chain: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found.

    Args:
        chains: how many were walked.
        records: how many of their records are as they were written.
        findings: what is wrong.
        unclosed: chains that nobody closed, in a sentence each: they are being written, or their writer died and what
            it had not stored is lost. No damage.
    """

    chains: int = 0
    records: int = 0
    findings: tuple[AuditFinding, ...] = ()
    unclosed: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass
class Walk:
    """A verification under way.

    Args:
        key: the trail's.
        pruned: how far each chain was pruned.
        own: the chain of whoever asks.
    """

    key: AuditKey
    pruned: Mapping[str, Mark] = field(default_factory=dict)
    own: str = ""
    records: int = 0
    findings: list[AuditFinding] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    witnessed: dict[str, int] = field(default_factory=dict)

    def find(self, kind: Kind, chain: str, detail: str) -> None:
        """Note what is wrong."""
        self.findings.append(AuditFinding(kind, chain, detail))

    def begin(self, chain: str) -> Steps:
        """Begin a chain behind what was pruned of it."""
        start = self.pruned.get(chain, Mark())
        return Steps(self, chain, start.seq, start.hash, start.seq, start.seq)

    def end(self, steps: Steps, early: bytes | None, late: bytes | None) -> None:
        """End a chain.

        Args:
            early, late: its head as it was before the walk and is after it; ``None``: there is none.
        """
        chain = steps.chain
        self.ends[chain] = steps.seq
        if late is None and steps.seq == steps.start > 0:  # pruned as a whole
            return
        for data in (early, late):
            if not self._is_head(chain, data):
                return
        self._bounds(steps, _state(self.key, early), _state(self.key, late))

    def outcome(self) -> AuditReport:
        """What was found, once all chains were walked."""
        for chain, seq in sorted(self.witnessed.items()):
            end, pruned = self.ends.get(chain), self.pruned.get(chain, Mark()).seq
            if end is None and pruned < seq:
                self.find(
                    Kind.MISSING, chain, f"The chain {chain} is missing, of which a later one has seen {seq} records."
                )
            elif end is not None and end < seq:
                self.find(
                    Kind.CUT, chain, f"The chain {chain} ends at record {end}, and a later one has seen record {seq}."
                )
        return AuditReport(len(self.ends), self.records, tuple(self.findings), tuple(self.unclosed))

    def _is_head(self, chain: str, data: bytes | None) -> bool:
        if data is None:
            self.find(Kind.MISSING, chain, f"The head of chain {chain} is missing, so its end is not guarded.")
            return False
        state = unsealed(self.key, data)
        if state is None:
            self.find(Kind.CHANGED, chain, f"The head of chain {chain} bears no seal of this key.")
        elif state.get("chain") != chain:
            self.find(Kind.REORDERED, chain, f"The head of chain {chain} is that of {state.get('chain')}.")
        return state is not None and state.get("chain") == chain

    def _bounds(self, steps: Steps, early: _Head, late: _Head) -> None:
        """Compare a chain with its head: it goes as far, or one batch further."""
        chain = steps.chain
        if steps.seq < early.seq:
            self.find(Kind.CUT, chain, f"The chain {chain} ends at record {steps.seq}, and had {early.seq}.")
        elif steps.before_last > late.seq or (late.is_closed and steps.seq > late.seq):
            self.find(
                Kind.CHANGED, chain, f"The head of chain {chain} is an old one, of record {late.seq} of {steps.seq}."
            )
        elif steps.seq == early.seq and steps.hash not in (None, early.hash):
            self.find(Kind.CHANGED, chain, f"The head of chain {chain} is not that of its last record.")
        if not late.is_closed and chain != self.own:
            self.unclosed.append(f"Nobody closed the chain {chain}; it has {steps.seq} records.")


class _Head(NamedTuple):
    """What a head says."""

    seq: int
    hash: str
    is_closed: bool


def _state(key: AuditKey, data: bytes | None) -> _Head:
    state = unsealed(key, data or b"") or {}
    return _Head(int(str(state.get("seq", 0))), str(state.get("hash", "")), state.get("closed") is True)


@dataclass
class Steps:
    """How far a chain was walked.

    Args:
        walk: of the whole trail.
        chain: which one.
        seq: the last record's place.
        hash: its hash; ``None``: it is not known, for the record was changed.
        before_last: the place of the last record before the last batch.
        start: so far it was pruned.
    """

    walk: Walk
    chain: str
    seq: int
    hash: str | None
    before_last: int
    start: int

    def batch(self, batch: Batch, lines: Lines) -> None:
        """Walk one object."""
        records = [record for _, record in lines]
        if 0 < batch.first <= self.start:
            return self._left_over(batch, records)
        if not any(records) and batch.first != self.seq + 1:
            return self._find(Kind.FORGED, f"{batch.name} holds no record that was written with this key.")
        self.before_last = self.seq
        for line, record in lines:
            self.line(batch.name, line, record)
        return self._named(batch, records)

    def _left_over(self, batch: Batch, records: Sequence[AuditRecord | None]) -> None:
        """Look at what was pruned and is still there, as after an interruption."""
        for record in records:
            if record is None or record.chain != self.chain or record.seq > self.start:
                self._find(Kind.FORGED, f"{batch.name} lies where records were pruned, and holds other ones.")
                return

    def _named(self, batch: Batch, records: Sequence[AuditRecord | None]) -> None:
        """Compare what an object's name says with what it holds."""
        if not records:
            self._find(Kind.CHANGED, f"{batch.name} is empty.")
        elif records[0] is not None and None not in records:
            expected = batch_name(records[0].seq, max(record.at for record in records if record is not None))
            if not batch.name.endswith(f"/{expected}"):
                self._find(Kind.CHANGED, f"{batch.name} is not named {expected}, as what it holds.")

    def line(self, where: str, line: bytes, record: AuditRecord | None) -> None:
        """Walk one line, which lies at ``where``."""
        place = self.seq + 1
        if record is None:
            what = "was changed" if line else "is empty"
            self._find(Kind.CHANGED, f"Record {place} of chain {self.chain}, in {where}, {what}.")
            self.seq, self.hash = place, None
            return
        if record.chain != self.chain or record.seq < place:
            self._find(
                Kind.REORDERED,
                f"{where} holds record {record.seq} of chain {record.chain} where record {place} of chain "
                f"{self.chain} belongs.",
            )
            return
        if record.seq > place:
            self._find(Kind.MISSING, f"Records {place} to {record.seq - 1} of chain {self.chain} are missing.")
        elif self.hash is not None and record.previous != self.hash:
            self._find(Kind.CHANGED, f"Record {place} of chain {self.chain} does not follow the one before it.")
        self._accept(record)

    def _accept(self, record: AuditRecord) -> None:
        self.seq, self.hash = record.seq, record.hash
        self.walk.records += 1
        heads = record.about.get("heads") if record.action == "audit.opened" else None
        for chain, (seq, _) in heads.items() if isinstance(heads, dict) else ():
            self.walk.witnessed[chain] = max(seq, self.walk.witnessed.get(chain, 0))

    def _find(self, kind: Kind, detail: str) -> None:
        self.walk.find(kind, self.chain, detail)


async def verified(
    place: Place, key: AuditKey, *, own: str = "", progress: Callable[[int], None] | None = None
) -> AuditReport:
    """Walk all chains of a trail, which may be written meanwhile; one that is pruned meanwhile is walked again.

    Args:
        own: the chain of whoever asks, which is open and not told of.
        progress: told how many records were read.
    """
    pruned = await place.content(place.pruned_name)
    while True:
        report = await _walked(place, Walk(key, own=own), pruned, progress)
        again = await place.content(place.pruned_name)
        if again == pruned:
            return report
        pruned = again


async def _walked(
    place: Place, walk: Walk, pruned: bytes | None, progress: Callable[[int], None] | None
) -> AuditReport:
    key = walk.key
    state = None if pruned is None else unsealed(key, pruned)
    walk.pruned = marks(state)
    if pruned is not None and state is None:
        walk.find(Kind.CHANGED, "", f"{place.pruned_name}, which says what was pruned, bears no seal of this key.")
    for chain in await place.chains():
        early = await place.content(place.head_name(chain))
        steps = walk.begin(chain)
        for batch in await place.batches(chain):
            steps.batch(batch, await read(place, batch, key))
            if progress is not None:
                progress(walk.records)
        walk.end(steps, early, await place.content(place.head_name(chain)))
    await _beside(place, walk)
    return walk.outcome()


async def _beside(place: Place, walk: Walk) -> None:
    """Look at what belongs to no chain."""
    async for name in place.strays():
        walk.find(Kind.FORGED, "", f"{name} lies where no writer of the trail has put anything.")
    async for name in place.names("users/"):
        state = unsealed(walk.key, await place.content(name) or b"")
        if state is None or not name.endswith(f"/{state.get('user')}"):
            walk.find(Kind.CHANGED, "", f"{name}, by which records are known to be a user's, is not what was written.")
