"""Pages of a listing, in the bitwise order of what is listed."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterable

from .refusals import Refusal

__all__ = ["page", "page_size", "pagination"]


def page(names: Iterable[str], token: object, size: int) -> tuple[list[str], str | None]:
    """The names after a token, and the token of what comes next; ``None``: nothing does.

    Args:
        names: all of them.
        token: of the page before; ``None`` or empty: the first page is wanted.
        size: how many at most.

    Raises:
        Refusal: the token is none of ours.
    """
    ordered = sorted(names)
    start = bisect_right(ordered, _opened(token)) if token else 0
    found = ordered[start : start + size]
    return found, _token(found[-1]) if start + size < len(ordered) else None


def page_size(found: object, *, default: int, most: int) -> int:
    """How many the caller wants on a page.

    Raises:
        Refusal: too many, or none.
    """
    try:
        size = default if found is None else int(str(found))
    except ValueError:
        size = 0
    if not 1 <= size <= most:
        raise Refusal(400, f"limit must be between 1 and {most}, got {found}")
    return size


def pagination(token: str | None) -> dict[str, object]:
    """The part of an answer that leads on; nothing on the last page."""
    return {} if token is None else {"pagination": {"next": token}}


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(b"after:" + last.encode()).decode()


def _opened(token: object) -> str:
    try:
        start, _, last = base64.b64decode(str(token), altchars=b"-_", validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise Refusal(400, "Invalid pagination token") from exc
    if start != "after":
        raise Refusal(400, "Invalid pagination token")
    return last
