"""What an opened adapter can do, within which limits, with which guarantees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from storycore.errors import ConfigError, Unsupported

__all__ = ["Capabilities", "Durability", "Guarantees", "Support"]


class Support(StrEnum):
    """How a feature is provided."""

    NATIVE = "native"
    SIMULATED = "simulated"
    NO = "no"


class Durability(StrEnum):
    """What an acknowledged write survives."""

    PROCESS = "process"
    """Nothing beyond the process."""
    DISK = "disk"
    """The end of the process and of the machine's power."""
    REPLICATED = "replicated"
    """The loss of a machine."""


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What a caller may rely on.

    ``read_after_write``: a read that begins after a write returned sees it.
    ``multi_process``: several processes may have the same store open and write to it.
    """

    durability: Durability = Durability.PROCESS
    read_after_write: bool = True
    multi_process: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One public answer per opened instance.

    Args:
        features: feature name, for example ``"entities.changes"``, to how it is provided. A name that is not
            listed is ``no``.
        limits: limit name, for example ``"vectors.top_k"``, to its value, where an adapter's own limit is
            tighter than the port's.
        guarantees: durability and visibility.
    """

    features: Mapping[str, Support] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    guarantees: Guarantees = field(default_factory=Guarantees)

    def support(self, feature: str) -> Support:
        """How ``feature`` is provided; ``no`` when it is not listed."""
        return self.features.get(feature, Support.NO)

    def has(self, feature: str) -> bool:
        """Whether ``feature`` is provided at all, natively or simulated."""
        return self.support(feature) is not Support.NO

    def demand(self, feature: str, *, adapter: str) -> None:
        """Raise ``Unsupported`` unless ``feature`` is provided."""
        if not self.has(feature):
            raise Unsupported(
                f"The adapter {adapter!r} does not provide {feature!r}; choose an adapter that does "
                "(`storycore plugins` lists what each one provides).",
                feature=feature,
            )

    def check(self, need: str, *, adapter: str) -> None:
        """Raise ``ConfigError`` unless the requirement holds.

        Args:
            need: ``"entities.changes"``, ``"entities.changes>=native"`` or
                ``"guarantees.durability>=disk"``.
        """
        name, _, level = (part.strip() for part in need.partition(">="))
        if name == "guarantees.durability":
            order = list(Durability)
            if level not in order:
                raise ConfigError(f"Requirement {need!r}: durability is one of {', '.join(order)}.", path="requires")
            held = order.index(self.guarantees.durability) >= order.index(Durability(level))
        elif level not in ("", Support.NATIVE, Support.SIMULATED):
            raise ConfigError(f"Requirement {need!r}: the level is 'native' or 'simulated'.", path="requires")
        else:
            held = self.support(name) is Support.NATIVE if level == Support.NATIVE else self.has(name)
        if not held:
            raise ConfigError(
                f"The profile requires {need!r}, which the adapter {adapter!r} does not provide.",
                path="requires",
            )
