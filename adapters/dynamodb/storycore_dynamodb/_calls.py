"""Calls to the service: paced, repeated where nothing can have been done, counted, and failing in storycore's words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from storycore.errors import Effect, StorycoreError, Throttled, Unavailable
from storycore.ports.environment import Environment
from storycore_dynamodb._errors import ANSWERS, Treatment, translated, treatment
from storycore_dynamodb._retries import Budget, Turns, pause_seconds
from storycore_dynamodb._transport import Answer, Lost, Refused, Transport
from storycore_dynamodb._usage import READS, Usage
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["Calls"]

_COUNTED = frozenset(
    {
        *("BatchGetItem", "GetItem", "Query", "Scan", "TransactGetItems"),
        *("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"),
    }
)
"""Operations that report consumed capacity."""

_STREAMS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"})


class Calls:
    """What all operations of a store share on their way out.

    Args:
        transport: sends each request once.
        config: the table, and how often to repeat.
        env: randomness for the pauses.
    """

    def __init__(self, transport: Transport, config: DynamodbConfig, env: Environment) -> None:
        self.transport = transport
        self.table = config.table
        self.usage = Usage()
        self._config = config
        self._env = env
        self._budget = Budget()
        self._turns = Turns(time.monotonic)
        self._stream_turns = Turns(time.monotonic)
        self._place = f"The table {config.table!r}"

    async def send(self, operation: str, request: Mapping[str, Any], *, repeatable: bool | None = None) -> Answer:
        """Send a request, again and again within the budget as long as nothing can have been done.

        Args:
            operation: the service's name, for example ``"GetItem"``.
            request: without the table's name where there is one.
            repeatable: whether a second execution does no harm; ``None``: reads only.

        Raises:
            Refused: with one of the codes that are answers; its effect tells of the attempts before.
            StorycoreError: anything else; of a write that may have been done the effect is ``UNKNOWN``.
        """
        is_read = operation in READS
        may_repeat = is_read if repeatable is None else repeatable
        whole = self.completed(operation, request)
        turns = self._stream_turns if operation in _STREAMS else self._turns
        effect = Effect.NONE
        attempt = 0
        while True:
            attempt += 1
            await turns.wait()
            try:
                answer = await self.transport.call(operation, whole)
            except (Refused, Lost) as failure:
                if isinstance(failure, Refused) and failure.code in ANSWERS:
                    self._succeeded(turns)
                    failure.effect = effect
                    raise
                if (how := treatment(failure)) is Treatment.SLOWER:
                    turns.pace.throttled()
                if how is Treatment.DOUBTFUL and not is_read:
                    effect = Effect.UNKNOWN
                if how is Treatment.FINAL or (how is Treatment.DOUBTFUL and not may_repeat):
                    raise self._given_up(failure, effect) from failure
                if not self._affords(attempt, failure):
                    raise self._given_up(failure, effect) from failure
                await self.pause(attempt, asked=getattr(failure, "retry_after_seconds", None))
            else:
                self._succeeded(turns)
                self.usage.count(operation, answer)
                return answer

    def completed(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as it is sent: with the table's name, and asking for the capacity it consumes."""
        whole = dict(request)
        if operation in _COUNTED:
            whole["ReturnConsumedCapacity"] = "TOTAL"
        if operation not in _STREAMS and not operation.startswith(("Batch", "Transact", "Tag", "ListT")):
            whole.setdefault("TableName", self.table)
        return whole

    async def pause(self, attempt: int, *, asked: float | None = None) -> None:
        """Wait before the repetition that follows the attempt of this number."""
        base = self._config.retry_base_ms / 1000
        await asyncio.sleep(pause_seconds(attempt, base_seconds=base, choose=self._env.random, asked=asked))

    async def left_over(self, attempt: int) -> None:
        """Pause because the service has processed nothing, for the time of this number in a row.

        Raises:
            Throttled: that was too often.
        """
        self._turns.pace.throttled()
        if attempt >= self._config.max_attempts or not self._budget.take(silent=False):
            raise Throttled(f"{self._place} leaves requests unprocessed; try again later, or raise its limits.")
        await self.pause(attempt)

    def translated(self, failure: Refused | Lost, *, effect: Effect = Effect.NONE) -> StorycoreError:
        """The storycore error for a failure that its sender could not answer."""
        return translated(failure, self._place, effect=effect)

    def raced(self, what: str) -> StorycoreError:
        """The error after so many lost races that going on would be rude."""
        return Unavailable(f"{self._place}: {what} lost every race against other writers; try again later.")

    def _succeeded(self, turns: Turns) -> None:
        self._budget.succeeded()
        turns.pace.succeeded()

    def _affords(self, attempt: int, failure: Refused | Lost) -> bool:
        return attempt < self._config.max_attempts and self._budget.take(silent=isinstance(failure, Lost))

    def _given_up(self, failure: Refused | Lost, effect: Effect) -> StorycoreError:
        error = translated(failure, self._place, effect=effect)
        if effect is Effect.UNKNOWN:  # an earlier attempt may have been done, whatever the last one was
            error.effect = effect
        return error
