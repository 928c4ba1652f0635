"""The kit's book of leases: two that live at once are a clash, and nothing else is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storycore.testing.cache_wires import LeaseBook
from storycore.testing.clock import ManualClock

LEASE = timedelta(seconds=5)


@pytest.fixture
def book() -> LeaseBook:
    return LeaseBook(ManualClock())


def test_two_that_live_at_once_are_a_clash(book: LeaseBook) -> None:
    """Whoever asks while another one's lease lives may not get one."""
    book.granted(["k"], LEASE, asked=book.turn())
    book.granted(["other"], LEASE, asked=book.turn())
    assert book.clash == ""
    book.granted(["k"], LEASE, asked=book.turn())
    assert "'k'" in book.clash


def test_one_after_another_is_none(book: LeaseBook) -> None:
    """The first has ended before the second is asked for."""
    book.granted(["k"], LEASE, asked=book.turn())
    book.ended(["k"])
    book.granted(["k"], LEASE, asked=book.turn())
    assert book.clash == ""


def test_one_that_ended_before_it_was_heard_of_is_none(book: LeaseBook) -> None:
    """A store in threads may tell of an invalidation before it tells of the lease that this one has killed."""
    late = book.turn()
    book.ended(["k"])
    book.granted(["k"], LEASE, asked=late)
    book.granted(["k"], LEASE, asked=book.turn())
    assert book.clash == ""
    book.granted(["k"], LEASE, asked=book.turn())
    assert "'k'" in book.clash
