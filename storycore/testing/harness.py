"""How the kit opens an adapter: by name, through the same door and behind the same checks as an application."""

from __future__ import annotations

import itertools
import random
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storycore.layers.checks import checked
from storycore.plugins import Adapter, Plugins
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

__all__ = ["Harness"]


@dataclass
class Harness:
    """One place where an adapter keeps data, and a clock.

    Args:
        port: which port is tested.
        adapter: an adapter, or the name of an installed one.
        options: its settings; in a text value ``{path}`` becomes this harness's own directory and ``{name}`` its name.
        path: an empty directory.
        served: the settings that lead to the adapter's server, see ``storycore.testing.servers``.
        name: twelve letters and digits that no other place has.
    """

    port: PortName
    adapter: str | Adapter
    options: Mapping[str, object]
    path: Path
    clock: ManualClock = field(default_factory=ManualClock)
    served: Mapping[str, object] = field(default_factory=dict)
    name: str = field(default_factory=lambda: secrets.token_hex(6))

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places = itertools.count()
        self._ids = itertools.count(1)
        self._spec = self.adapter if isinstance(self.adapter, Adapter) else Plugins().adapter(self.adapter)

    @property
    def env(self) -> Environment:
        """The environment handed to the adapter: this harness's clock, counted ids, seeded randomness."""
        return Environment(clock=self.clock, new_id=lambda: f"id{next(self._ids):06d}", random=random.Random(7))

    @property
    def spec(self) -> Adapter:
        """What the plugin says about the adapter."""
        return self._spec

    def settings(self, **overrides: object) -> dict[str, object]:
        """The adapter's settings in this place; ``overrides`` change them."""
        given = {**self._spec.conformance, **self.served, **self.options, **overrides}
        return {option: self._placed(value) for option, value in given.items()}

    def make(self, **overrides: object) -> Any:
        """The adapter behind its checks, not yet open; ``overrides`` change its options. Repeat to open it again."""
        config = self._spec.config_for(self.port).model_validate(self.settings(**overrides))
        return checked(self.port, self._spec.opener(self.port)(config, self.env))

    async def started(self, **overrides: object) -> Any:
        """The adapter provisioned and open; the caller closes it."""
        made = self.make(**overrides)
        await made.ensure()
        await made.open()
        return made

    def fresh(self) -> Harness:
        """Another empty place with a clock of its own."""
        path = self.path / f"place{next(self._places)}"
        path.mkdir(parents=True)
        return Harness(self.port, self._spec, self.options, path, served=self.served)

    def count(self, what: str, number: int = 1) -> None:
        """Add to a number that the report of the run shows, for example of the steps of a machine."""
        self.counts[what] += number

    def fitting(self, wanted: int | None, usual: int) -> int:
        """What is wanted, else the usual number of tries, of which an adapter that brings a server gets a fifth."""
        if wanted is not None:
            return wanted
        return usual if self._spec.server is None else max(1, usual // 5)

    def require(self, port: Any, feature: str) -> None:
        """Skip the rest of a test, visibly, when the opened adapter does not claim ``feature``."""
        if not port.capabilities.has(feature):
            pytest.skip(f"not claimed: {feature}")

    def _placed(self, value: object) -> object:
        if not isinstance(value, str):
            return value
        return value.replace("{path}", str(self.path)).replace("{name}", self.name)
