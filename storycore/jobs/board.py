"""The board: where all who run jobs see what was done, and write down what they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from storycore.entities.leases import Held, Lease, held_of
from storycore.errors import Corrupt
from storycore.jobs.state import JobState, RunRecord, run_of, run_partition, run_put, state_key, state_of
from storycore.ports.entities import EntityStore, Position, Put, QueryPlan, Record
from storycore.ports.environment import Environment

__all__ = ["Board"]

_PAGE = 100


class Board:
    """The stored side of a store's jobs.

    Args:
        store: keeps the records; borrowed.
        env: tells the time and makes ids.
        namespace: stores of the same namespace have the same jobs.
        lease: a runner that gives no sign of life for so long is taken for dead.
        history: how long a line of history is kept.
    """

    def __init__(
        self, store: EntityStore, env: Environment, *, namespace: str, lease: timedelta, history: timedelta
    ) -> None:
        self._store = store
        self._env = env
        self._namespace = namespace
        self._lease = lease
        self._history = history
        self.seen: dict[str, Held[JobState] | Corrupt | None] = {}
        """What ``read`` found last, by job."""

    def lease(self, job: str) -> Lease[JobState]:
        """A turn of a job, not taken yet."""
        return Lease(
            self._store,
            self._env,
            key=state_key(self._namespace, job),
            kind="job_state",
            length=self._lease,
            decode=state_of,
        )

    async def read(self, jobs: Sequence[str]) -> list[Held[JobState] | Corrupt | None]:
        """What is remembered of some jobs, and whose turn it is, in their order; an error where it cannot be read."""
        records = await self._store.get([state_key(self._namespace, job) for job in jobs], consistent=True)
        found = [None if record is None else _held(job, record) for job, record in zip(jobs, records, strict=True)]
        self.seen.update(zip(jobs, found, strict=True))
        return found

    async def write(self, record: RunRecord) -> None:
        """Add a line to the history."""
        await self._store.write([self.put(record)])

    def put(self, record: RunRecord) -> Put:
        """The write of a line of history; it may be repeated."""
        expires_at = self._env.clock.now() + self._history
        return run_put(record, namespace=self._namespace, id_=self._env.new_id(), expires_at=expires_at)

    async def history(self, job: str, limit: int) -> list[RunRecord]:
        """The last lines of a job's history, newest first."""
        found: list[RunRecord] = []
        after: Position | None = None
        while len(found) < limit:
            wanted = min(limit - len(found), _PAGE)
            pk = run_partition(self._namespace, job)
            page = await self._store.query(QueryPlan(pk=pk, reverse=True, limit=wanted, after=after))
            found += [_read(record) for record in page.records]
            after = page.next
            if after is None:
                break
        return found


def _held(job: str, record: Record) -> Held[JobState] | Corrupt:
    try:
        return held_of(record, state_of)
    except Corrupt:
        return Corrupt(
            f"What is remembered of the job {job!r} cannot be read, so it is not run; `storycore jobs reset {job} "
            "--yes` lets it begin anew."
        )


def _read(record: Record) -> RunRecord:
    try:
        return run_of(record)
    except ValueError as exc:
        raise Corrupt(
            f"The line of history at {record.key.pk!r}, {record.key.sk!r} cannot be read; it goes after "
            "jobs.history_days."
        ) from exc
