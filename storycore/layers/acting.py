"""Who acts: what a program says of the block that is running, for those who write down who did what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import NamedTuple, TypeVar

from storycore.errors import InvalidArgument

__all__ = ["USER", "Acting", "acting", "actor", "put_back"]

T = TypeVar("T")

USER = "user:"
"""Begins an actor that is a user, whose name is kept as nothing but a hash."""

_LONGEST = 512


class Acting(NamedTuple):
    """Who acts, and why."""

    actor: str
    reason: str = ""


_ACTING: ContextVar[Acting | None] = ContextVar("storycore_acting", default=None)


@contextmanager
def acting(actor: str, *, reason: str = "") -> Iterator[None]:
    """A block whose accesses are those of ``actor``: ``with acting("user:ada", reason="support 123"):``.

    It holds for the task and for the tasks that it starts; of nested ones the inner one holds.

    Args:
        actor: 1 to 512 characters. ``user:NAME`` is a user, of whom the trail keeps a hash; any other is kept as it is.
        reason: kept as it is, so let it name nobody; at most 512 characters.

    Raises:
        InvalidArgument: one of them is of another type or length, or cannot be written as UTF-8.
    """
    for name, text in (("actor", actor), ("reason", reason)):
        _demand_text(name, text)
    if actor in ("", USER):
        raise InvalidArgument("An actor needs a name, as in acting('user:ada').")
    token = _ACTING.set(Acting(actor, reason))
    try:
        yield
    finally:
        put_back(_ACTING, token)


def actor(default: Acting) -> Acting:
    """Who acts in the running code; the default where nobody has said it."""
    return _ACTING.get() or default


def put_back(variable: ContextVar[T], token: Token[T]) -> None:
    """Give a variable the value it had before.

    A coroutine that nobody finishes is ended by the garbage collector, in a context which is not its own.
    """
    with suppress(ValueError):
        variable.reset(token)


def _demand_text(name: str, text: object) -> None:
    try:
        fits = isinstance(text, str) and len(text) <= _LONGEST and text.encode() is not None
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise InvalidArgument(f"acting: {name} is a text of at most {_LONGEST} characters in valid Unicode.")
