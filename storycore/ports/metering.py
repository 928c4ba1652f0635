"""Metering: what an adapter's calls have consumed, in the units in which its service is paid."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Meter"]


class Meter:
    """Tells what was consumed; an adapter of a service that counts shows one to ``native(Meter)`` while it is open."""

    def consumed(self) -> Mapping[str, Mapping[str, float]]:
        """Operation of the service to its sums since the port was made, ``{"Query": {"calls": 3, …}}``."""
        raise NotImplementedError
