"""Questions: a few of those that were really asked, by which the recall of approximate answers is checked."""

from __future__ import annotations

from storycore_faiss.flat import Floats

__all__ = ["Questions"]

_ENOUGH = 32
_ALARMED_EVERY, _FIRST_EVERY, _LAST_EVERY = 16, 128, 32_768
_MOST_NAMESPACES = 64


class Questions:
    """Some targets of each namespace, fewer as time goes on without surprise.

    Any number of threads may note at the same time; a count that is lost now and then does no harm.
    """

    def __init__(self) -> None:
        self._every: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._noted: dict[str, list[Floats]] = {}

    def note(self, namespace: str, target: Floats) -> bool:
        """Take one of so many targets; gives whether there are enough now for a check."""
        asked = self._asked.get(namespace, 0) + 1
        self._asked[namespace] = asked
        if asked % self._every.get(namespace, _FIRST_EVERY) or len(self._asked) > _MOST_NAMESPACES:
            return False
        noted = self._noted.setdefault(namespace, [])
        if len(noted) < _ENOUGH:
            noted.append(target.copy())
        return len(noted) >= _ENOUGH

    def ready(self) -> list[str]:
        """The namespaces that have enough for a check."""
        return [name for name, noted in list(self._noted.items()) if len(noted) >= _ENOUGH]

    def take(self, namespace: str) -> list[Floats]:
        """What was noted, which is forgotten here."""
        return self._noted.pop(namespace, [])

    def settle(self, namespace: str, *, calm: bool) -> None:
        """Ask four times as seldom after a check without surprise, and soon again after another."""
        every = self._every.get(namespace, _FIRST_EVERY)
        self._every[namespace] = min(_LAST_EVERY, 4 * every) if calm else _ALARMED_EVERY
