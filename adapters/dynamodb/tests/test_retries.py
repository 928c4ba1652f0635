"""Repetitions: pauses that spread, a budget that ends, and a pace that falls and recovers."""

from __future__ import annotations

import random

import pytest
from storycore_dynamodb._errors import Treatment, translated, treatment
from storycore_dynamodb._retries import Budget, Pace, pause_seconds
from storycore_dynamodb._transport import Lost, Refused
from storycore_dynamodb._usage import Usage

from storycore.errors import (
    AccessDenied,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    NotProvisioned,
    StorycoreError,
    Throttled,
    TooLarge,
    Unavailable,
)


def test_pauses_spread_under_a_ceiling_that_doubles() -> None:
    """Between nothing and the ceiling, which ends at five seconds; what the service asks for is kept."""
    choose = random.Random(1)
    for attempt, ceiling in ((1, 0.1), (2, 0.2), (5, 1.6), (30, 5.0)):
        pauses = [pause_seconds(attempt, base_seconds=0.1, choose=choose) for _ in range(200)]
        assert 0 <= min(pauses) < ceiling * 0.1
        assert ceiling * 0.9 < max(pauses) <= ceiling
    assert pause_seconds(1, base_seconds=0, choose=choose, asked=2.0) == 2.0


def test_a_budget_ends_and_is_paid_back() -> None:
    """A hundred repetitions in a row, half as many after silence; successes earn new ones."""
    answered, silent = Budget(), Budget()
    assert sum(answered.take(silent=False) for _ in range(200)) == 100
    assert sum(silent.take(silent=True) for _ in range(200)) == 50
    for _ in range(5):
        answered.succeeded()
    assert [answered.take(silent=False) for _ in range(2)] == [True, False]


def test_the_pace_falls_with_throttles_and_recovers() -> None:
    """Unlimited until the first throttle, then 70 % of what was measured, and with time more than before."""
    now = 1000.0
    pace = Pace(lambda: now)
    for _ in range(400):
        assert pace.turn() == 0
        now += 0.01
        pace.succeeded()
    pace.throttled()

    def sent_within(seconds: float) -> int:
        nonlocal now
        until, sent = now + seconds, 0
        while now < until:
            sent += (wait := pace.turn()) == 0
            now += wait
        return sent

    assert 60 <= sent_within(1.0) <= 75
    for _ in range(2000):
        now += 0.01
        pace.succeeded()
    assert sent_within(1.0) > 100


def test_a_turn_that_is_waited_for_is_not_taken() -> None:
    """Who asks and goes away keeps nobody waiting; the next turn is never further away than the rate says."""
    now = 1000.0
    pace = Pace(lambda: now)
    pace.throttled()
    waits = [pace.turn() for _ in range(1000)]
    assert max(waits) <= 1 / 20
    now += max(waits)
    assert pace.turn() == 0


@pytest.mark.parametrize(
    ("failure", "error", "how"),
    [
        (Refused("ResourceNotFoundException"), NotProvisioned, Treatment.FINAL),
        (Refused("ExpiredTokenException"), AccessDenied, Treatment.FINAL),
        (Refused("ThrottlingException"), Throttled, Treatment.SLOWER),
        (Refused("TransactionInProgressException"), Unavailable, Treatment.AGAIN),
        (Refused("ContinuousBackupsUnavailableException"), Unavailable, Treatment.AGAIN),
        (Refused("InternalServerError"), Unavailable, Treatment.DOUBTFUL),
        (Refused("502"), Unavailable, Treatment.DOUBTFUL),
        (Refused("404"), Unavailable, Treatment.FINAL),
        (Refused("ValidationException", "Item size has exceeded the maximum"), TooLarge, Treatment.FINAL),
        (Refused("ValidationException", "unknown"), InvalidArgument, Treatment.FINAL),
        (Lost("refused", effect=Effect.NONE), Unavailable, Treatment.AGAIN),
        (Lost("reset", effect=Effect.UNKNOWN), Unavailable, Treatment.DOUBTFUL),
        (Lost("slow", effect=Effect.UNKNOWN, timed_out=True), DeadlineExceeded, Treatment.DOUBTFUL),
    ],
)
def test_each_failure_has_its_error_and_its_treatment(
    failure: Refused | Lost, error: type[StorycoreError], how: Treatment
) -> None:
    """One table says what a failure is called and what may be done after it."""
    made = translated(failure, "The table 't'", effect=Effect.UNKNOWN)
    assert (type(made), treatment(failure)) == (error, how)
    assert made.message.startswith("The table 't'")
    expected = Effect.UNKNOWN if how in (Treatment.DOUBTFUL, Treatment.AGAIN) else Effect.NONE
    assert made.effect is expected


def test_a_pause_that_the_service_asks_for_is_told() -> None:
    """A throttle carries the seconds to wait."""
    made = translated(Refused("ThrottlingException", retry_after_seconds=3), "The table 't'", effect=Effect.NONE)
    assert isinstance(made, Throttled)
    assert made.retry_after_seconds == 3


def test_consumed_capacity_is_added_up_by_operation() -> None:
    """Reads and writes apart, of one table or several, and of answers that report nothing."""
    usage = Usage()
    usage.count("GetItem", {"ConsumedCapacity": {"CapacityUnits": 0.5}})
    usage.count("GetItem", {})
    usage.count("TransactWriteItems", {"ConsumedCapacity": [{"CapacityUnits": 4.0}, {"CapacityUnits": 2.0}]})
    assert usage.facts() == {
        "GetItem.calls": 2,
        "GetItem.read_units": 0.5,
        "TransactWriteItems.calls": 1,
        "TransactWriteItems.write_units": 6.0,
    }
