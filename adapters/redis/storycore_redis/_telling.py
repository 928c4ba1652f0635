"""Who listens to changes, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from storycore.ports.cache import Listener
from storycore_redis._names import Names

__all__ = ["Telling"]


class Telling:
    """The listeners of one cache."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._listeners: dict[object, Listener] = {}

    def add(self, listener: Listener) -> Callable[[], None]:
        """One more, until the answer is called."""
        ticket = object()
        self._listeners[ticket] = listener
        return lambda: self._listeners.pop(ticket, None) and None

    def heard(self, names: Sequence[bytes] | None) -> None:
        """Tell all of them which names changed; ``None``: nobody knows which."""
        if not self._listeners:
            return
        changed = None if names is None else self._names.changed(names)
        if changed is None or changed.keys or changed.counters:
            for listener in list(self._listeners.values()):
                listener(changed)
