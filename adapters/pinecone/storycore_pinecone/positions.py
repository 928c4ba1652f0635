"""Write tokens: a namespace and a place in its log, which the service counts for each namespace on its own."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from storycore.errors import InvalidArgument, StaleRead
from storycore.ports.vectors import WriteToken

__all__ = ["Positions"]

_NAMESPACES: Final = 10_000
_TOKEN: Final = re.compile(r"(\d+|\?)@(.+)", re.ASCII)
_UNTOLD: Final = "?"


class Positions:
    """Where in its log each namespace was after the last write of this index.

    A token names a write in its own namespace; a read of another namespace has nothing to wait for.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[str, str] = OrderedDict()

    def wrote(self, namespace: str, lsn: int | None) -> WriteToken:
        """The token of a write; without a place where the service does not tell it."""
        held = self._last.get(namespace, "0")
        if lsn is None:
            self._last[namespace] = _UNTOLD
        elif held == _UNTOLD or int(held) < lsn:
            self._last[namespace] = str(lsn)
        self._last.move_to_end(namespace)
        if len(self._last) > _NAMESPACES:
            self._last.popitem(last=False)
        return WriteToken(f"{_UNTOLD if lsn is None else lsn}@{namespace}")

    def last(self, namespace: str) -> WriteToken:
        """The token of the last write that this index made in a namespace."""
        return WriteToken(f"{self._last.get(namespace, '0')}@{namespace}")

    def is_known(self, namespace: str) -> bool:
        """Whether the place of the last write that this index made in a namespace is known."""
        return self._last.get(namespace, _UNTOLD) != _UNTOLD

    @staticmethod
    def require(token: WriteToken | None, namespace: str, seen: int | None, *, place: str) -> None:
        """Raise ``StaleRead`` unless a read that saw the log up to ``seen`` saw the token's write."""
        wanted, of = _read(token) if token is not None else (None, "")
        if wanted in (None, "0") or of != namespace:
            return
        if wanted == _UNTOLD:
            raise StaleRead(f"{place} did not tell where in the log the write is; read without at_least.")
        if seen is None:
            raise StaleRead(f"{place} does not tell up to where namespace {namespace!r} can be read.")
        if wanted is not None and seen < int(wanted):
            raise StaleRead(f"{place} can be read up to write {seen} of namespace {namespace!r}, not yet {wanted}.")


def _read(token: WriteToken) -> tuple[str, str]:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise InvalidArgument(f"{token!r} is not a write token of this index.")
    return found[1], found[2]
