"""What keys are called on the server, and back.

A value and its lease must be in one slot of a cluster, which a hash tag does: ``ns:v:{key}`` and ``ns:l:{key}``. A key
that begins with ``}`` would make an empty tag, which counts as none; such keys share a tag: ``ns:V:{~}key``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from storycore.ports.cache import Changed

__all__ = ["Names"]

_SPECIAL = re.compile(r"([*?\[\]\\^-])")


class Names:
    """The names under one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._value = f"{namespace}:v:{{"
        self._counter = f"{namespace}:c:"
        self._start = len(namespace) + 1

    def value(self, key: str) -> str:
        """Of a key's value."""
        if key[0] == "}":
            return f"{self._namespace}:V:{{~}}{key}"
        return f"{self._value}{key}}}"

    def values(self, keys: Sequence[str]) -> list[str]:
        """Of the values of several keys, as ``value`` says of each."""
        if "}" in "".join(keys):
            return [self.value(key) for key in keys]
        start = self._value
        return [f"{start}{key}}}" for key in keys]

    def both(self, key: str) -> tuple[str, str]:
        """Of a key's value and of its lease."""
        value = self.value(key)
        kind = "l" if value[self._start] == "v" else "L"
        return value, f"{self._namespace}:{kind}{value[self._start + 1 :]}"

    def counter(self, name: str) -> str:
        """Of a counter."""
        return self._counter + name

    def pattern(self, prefix: str, *, leases: bool = False) -> str:
        """Which names SCAN is to give: of values, or of leases too, of all keys that begin with the prefix."""
        kinds = "vl" if leases else "v"
        if not prefix:
            return f"{self._namespace}:[{kinds}{kinds.upper()}]:*"
        escaped = _SPECIAL.sub(r"\\\1", prefix)
        if prefix[0] == "}":
            return f"{self._namespace}:[{kinds.upper()}]:{{~}}{escaped}*"
        return f"{self._namespace}:[{kinds}]:{{{escaped}*"

    def keys(self, names: Iterable[bytes]) -> set[str]:
        """The keys of values and leases."""
        parsed = (self._parsed(name) for name in names)
        return {key for kind, key in parsed if kind in "vlVL"}

    def changed(self, names: Iterable[bytes]) -> Changed:
        """The keys and counters whose values changed; leases are passed over."""
        parsed = [self._parsed(name) for name in names]
        return Changed(
            keys=tuple(key for kind, key in parsed if kind in "vV"),
            counters=tuple(name for kind, name in parsed if kind == "c"),
        )

    def _parsed(self, name: bytes) -> tuple[str, str]:
        """The kind and the key; the kind ``-`` is nobody's name that we would give."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return "-", ""
        if not text.startswith(f"{self._namespace}:"):
            return "-", ""
        kind, rest = text[self._start : self._start + 1], text[self._start + 2 :]
        if kind == "c":
            return kind, rest
        if kind in ("v", "l") and rest.startswith("{") and rest.endswith("}"):
            return kind, rest[1:-1]
        if kind in ("V", "L") and rest.startswith("{~}"):
            return kind, rest[3:]
        return "-", ""
