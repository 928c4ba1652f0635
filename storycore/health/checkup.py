"""Looking at a store: all its parts at once, each within a time of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from storycore.errors import InvalidArgument, StorycoreError
from storycore.health.probes import ASKED_ONLY, PROBES
from storycore.health.report import HealthReport, Level
from storycore.layers.acting import acting
from storycore.layers.deadline import timeless
from storycore.ports.lifecycle import Health, Port, PortName
from storycore.suggestions import did_you_mean

__all__ = ["Checkup"]

_ACTOR = "storycore:health"

Look = Callable[[], Awaitable[Health | None]]


class Checkup:
    """Looks at the parts of one store.

    A look takes no longer than its time, whatever its parts do: who has not answered by then is told so, and is not
    asked again before it has.

    Args:
        ports: the ports by name; they are opened where they are not.
        required: the names without which the store does not serve.
        read_only: the ports that the profile only lets read.
        jobs: how the jobs do; ``None`` where there are none.
        plugged: the lines that plugins add.
        last_errors: the class of the last error of each port.
        timeout: seconds for each part; a deep look takes as long as it takes.
        keep: seconds for which an answer to ``READY`` is given again; who asks meanwhile waits for the same one.
    """

    def __init__(
        self,
        ports: Mapping[PortName, Port],
        *,
        required: frozenset[str],
        read_only: frozenset[str],
        jobs: Look,
        plugged: Callable[[], Mapping[str, Health]],
        last_errors: Mapping[str, str],
        timeout: float,
        keep: float,
    ) -> None:
        self._ports = ports
        self._required = required
        self._read_only = read_only
        self._jobs = jobs
        self._plugged = plugged
        self._last_errors = last_errors
        self._timeout = timeout
        self._keep = keep
        self._asked: dict[str, asyncio.Task[Health | None]] = {}
        self._ready: asyncio.Task[HealthReport] | None = None
        self._ready_at = 0.0

    async def look(self, level: str, *, deep: bool = False) -> HealthReport:
        """One look.

        Args:
            level: one of ``Level``.
            deep: also check the integrity of what is stored; with ``DETAIL`` alone.

        Raises:
            InvalidArgument: there is no such level, or a deep look is asked of another than ``DETAIL``.
        """
        if level not in list(Level):
            raise InvalidArgument(f"There is no level {level!r} of health. {did_you_mean(str(level), list(Level))}")
        if deep and level != Level.DETAIL:
            raise InvalidArgument(f"A deep look is one of level 'detail', not {level!r}.")
        if level == Level.LIVE:
            return HealthReport(Level.LIVE, {"loop": await _answering()}, frozenset({"loop"}))
        return await (self._kept() if level == Level.READY else self._detail(deep=deep))

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [*self._asked.values(), *([] if self._ready is None else [self._ready])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _kept(self) -> HealthReport:
        """The last answer while it is fresh, or the one that is under way; a caller that goes takes nobody's away."""
        ready = self._ready
        if ready is None or (ready.done() and (ready.cancelled() or time.monotonic() - self._ready_at >= self._keep)):
            ready = self._ready = asyncio.create_task(self._readiness(), name="health", context=timeless())
        return await asyncio.shield(ready)

    async def _readiness(self) -> HealthReport:
        looks: dict[str, Look] = {name: self._probing(PortName(name)) for name in sorted(self._required)}
        found = await self._answers({**looks, "jobs": self._jobs}, "ready", self._timeout)
        self._ready_at = time.monotonic()
        return HealthReport(Level.READY, found, self._required)

    async def _detail(self, *, deep: bool) -> HealthReport:
        looks: dict[str, Look] = {str(name): self._examining(name, deep=deep) for name in self._ports}
        asked = {**looks, "jobs": self._jobs}
        found = await (self._answers(asked, "deep", None) if deep else self._answers(asked, "detail", self._timeout))
        return HealthReport(Level.DETAIL, {**found, **self._plugged()}, self._required)

    def _probing(self, name: PortName) -> Look:
        async def probe() -> Health:
            port = self._ports[name]
            await port.open()
            with acting(_ACTOR):
                return await PROBES[name](port, name not in self._read_only)

        return probe

    def _examining(self, name: PortName, *, deep: bool) -> Look:
        probe = self._probing(name)

        async def examine() -> Health:
            port = self._ports[name]
            await port.open()
            found = await port.health(deep=deep)
            if found.ok and name not in ASKED_ONLY:
                await probe()
            return replace(found, facts={**self._about(name, port), **found.facts})

        return examine

    def _about(self, name: PortName, port: Port) -> dict[str, str]:
        about = {"adapter": port.info.adapter, "version": port.info.version}
        last = self._last_errors.get(str(name))
        return about if last is None else {**about, "last_error": last}

    async def _answers(self, looks: Mapping[str, Look], level: str, seconds: float | None) -> dict[str, Health]:
        """What each said, in the order of the looks; who has nothing to say has no line."""
        asked = {name: self._ask(f"{level} {name}", look) for name, look in looks.items()}
        await asyncio.wait(asked.values(), timeout=seconds)
        said = {name: _said(task, seconds) for name, task in asked.items()}
        return {name: line for name, line in said.items() if line is not None}

    def _ask(self, what: str, look: Look) -> asyncio.Task[Health | None]:
        """Ask, unless an earlier question still waits for its answer, which is then that to this one too."""
        task = self._asked.get(what)
        if task is None or task.done():
            task = self._asked[what] = asyncio.create_task(_timed(look), name=f"health: {what}", context=timeless())
        return task


def _said(task: asyncio.Task[Health | None], seconds: float | None) -> Health | None:
    if task.done() and not task.cancelled():
        return task.result()
    task.cancel()
    return Health(ok=False, detail=f"It did not answer within {seconds:g} s.", latency_ms=(seconds or 0.0) * 1000)


async def _timed(look: Look) -> Health | None:
    """The answer with the time it took, where it does not say so itself; a failure is an answer."""
    begun = time.perf_counter()
    try:
        found = await look()
    except StorycoreError as exc:
        found = Health(ok=False, detail=exc.message)
    if found is None or found.latency_ms:
        return found
    return replace(found, latency_ms=(time.perf_counter() - begun) * 1000)


async def _answering() -> Health:
    """How long the loop lets wait whoever has something to do at once."""
    begun = time.perf_counter()
    await asyncio.sleep(0)
    return Health(ok=True, latency_ms=(time.perf_counter() - begun) * 1000)
