"""Requests to the service: repeated within a budget, a few at once, failing in storycore's words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from storycore.errors import Effect, StorycoreError
from storycore.ports.environment import Environment
from storycore_pinecone._errors import FAILURES, Treatment, is_missing_namespace, translated, treatment
from storycore_pinecone.config import PineconeConfig

__all__ = ["Budget", "Calls", "all_of", "gravest", "in_part", "unless_missing"]

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS: Final = 5.0


class Budget:
    """How many repetitions an index may still afford, so that a service in trouble is not asked ever more.

    Every repetition costs ten; every success pays one back: in the long run one request in ten is a repetition.
    """

    _FULL = 500
    _COST = 10

    def __init__(self) -> None:
        self._left = self._FULL

    def take(self) -> bool:
        """Pay for a repetition; ``False`` when nothing is left."""
        if self._left < self._COST:
            return False
        self._left -= self._COST
        return True

    def succeeded(self) -> None:
        """Count a request that was answered."""
        self._left = min(self._FULL, self._left + 1)


class Calls:
    """What all requests of an index share on their way out.

    Args:
        config: how often to repeat, and how many at once.
        env: randomness for the pauses.
    """

    def __init__(self, config: PineconeConfig, env: Environment) -> None:
        self.place = f"The index {config.index!r}"
        self._config = config
        self._random = env.random
        self._budget = Budget()
        self._turns = asyncio.Semaphore(config.parallel_requests)

    async def send(self, request: Callable[[], Awaitable[T]], *, writes: bool = False) -> T:
        """The answer to a request, which is sent again while that can help; a second execution must do no harm.

        Args:
            request: sends it once.
            writes: whether it changes anything, so that its effect is in doubt when no answer comes.

        Raises:
            StorycoreError: by the one table; of a write that may have been done the effect is ``UNKNOWN``.
        """
        end = asyncio.get_running_loop().time() + self._config.retry_seconds
        effect = Effect.NONE
        attempt = 1
        while True:
            try:
                async with self._turns:
                    answer = await request()
            except FAILURES as exc:
                how = treatment(exc)
                if writes and how is Treatment.DOUBTFUL:
                    effect = Effect.UNKNOWN
                error = translated(exc, self.place, effect=effect)
                pause = self._pause(attempt, error)
                if how is Treatment.FINAL or not self._affords(attempt, pause, end):
                    error.effect = effect  # an earlier attempt may have been done, whatever the last one was
                    raise error from exc
            else:
                self._budget.succeeded()
                return answer
            await asyncio.sleep(pause)
            attempt += 1

    async def send_all(self, requests: Iterable[Callable[[], Awaitable[T]]], *, writes: bool = False) -> list[T]:
        """The answers to requests that are sent a few at once, in order, or the first failure once all are done.

        Of writes of which some were done, the failure's effect is ``UNKNOWN``.
        """
        outcomes = await outcomes_of([partial(self.send, request, writes=writes) for request in requests])
        if writes and not all(isinstance(outcome, StorycoreError) for outcome in outcomes):
            for outcome in outcomes:
                if isinstance(outcome, StorycoreError):
                    in_part(outcome)
        return _results(outcomes)

    def _pause(self, attempt: int, error: StorycoreError) -> float:
        """Full jitter under a ceiling that doubles, on top of what the service asks for."""
        ceiling = min(_LONGEST_PAUSE_SECONDS, self._config.retry_base_ms / 1000 * 2 ** (attempt - 1))
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        return float(asked + self._random.uniform(0.0, ceiling))

    def _affords(self, attempt: int, pause: float, end: float) -> bool:
        left = end - asyncio.get_running_loop().time()
        return attempt < self._config.max_attempts and pause < left and self._budget.take()


async def all_of(jobs: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of jobs that run together, in order, or the first failure once all are done."""
    return _results(await outcomes_of(jobs))


async def outcomes_of(jobs: Iterable[Callable[[], Awaitable[T]]]) -> list[T | StorycoreError]:
    """The result or the error of each job, in order; all are cancelled with the caller."""

    async def outcome(job: Callable[[], Awaitable[T]]) -> T | StorycoreError:
        try:
            return await job()
        except StorycoreError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(job)) for job in jobs]
    return [task.result() for task in tasks]


def in_part(error: StorycoreError) -> StorycoreError:
    """The error of a call of which something was done before it failed."""
    if error.effect is Effect.NONE:
        error.effect = Effect.UNKNOWN
    return error


def _results(outcomes: Iterable[T | StorycoreError]) -> list[T]:
    """The results, or the gravest of the failures: one that leaves a doubt about its effect, else the first."""
    results: list[T] = []
    failures: list[StorycoreError] = []
    for outcome in outcomes:
        if isinstance(outcome, StorycoreError):
            failures.append(outcome)
        else:
            results.append(outcome)
    if failures:
        raise gravest(failures)
    return results


def gravest(failures: Sequence[StorycoreError]) -> StorycoreError:
    """The failure that says most: one that leaves a doubt about its effect, else the first."""
    return next((error for error in failures if error.effect is not Effect.NONE), failures[0])


def unless_missing(request: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T | None]]:
    """The same request, whose answer is ``None`` where the service says that there is no such namespace."""

    async def once() -> T | None:
        try:
            return await request()
        except FAILURES as exc:
            if is_missing_namespace(exc):
                return None
            raise

    return once
