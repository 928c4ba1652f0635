"""Telemetry for OpenTelemetry: instruments that observe what a store has counted. Needs ``storycore[otel]``.

Spans and the histogram of durations come from the plugin ``otel``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

from storycore.errors import ConfigError
from storycore.telemetry.families import Distribution, Family, Kind, Measured

try:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter
except ModuleNotFoundError as exc:
    raise ConfigError(
        "Metrics for OpenTelemetry need opentelemetry-api; install it with: pip install 'storycore[otel]'"
    ) from exc

__all__ = ["instrument"]

_UNITS = {"seconds": "s", "bytes": "By", "": "1"}

Observe = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(store: Measured, meter_provider: MeterProvider | None = None) -> None:
    """Observe a store's counts, without I/O, whenever metrics are exported.

    Instruments are named ``storycore.operations``, ``storycore.cache.reads`` and so on; of durations the sum is
    observed, ``storycore.operation.duration``. Several stores may be instrumented; the attributes ``profile`` and
    ``namespace`` tell them apart.

    Args:
        store: held weakly; nothing is observed of one that is gone.
        meter_provider: the global one when nothing is said.
    """
    meter = get_meter("storycore", meter_provider=meter_provider)
    reference = weakref.ref(store)
    for place, family in enumerate(store.telemetry()):
        _made(meter, family, _observer(reference, place))


def _made(meter: Meter, family: Family, observe: Observe) -> None:
    name, unit = f"storycore.{family.name}", _UNITS[family.unit]
    make = meter.create_observable_gauge if family.kind is Kind.GAUGE else meter.create_observable_counter
    make(name, callbacks=[observe], unit=unit, description=family.about)


def _observer(reference: Callable[[], Measured | None], place: int) -> Observe:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        store = reference()
        samples = [] if store is None else store.telemetry()[place].samples
        for sample in samples:
            value = sample.value.total if isinstance(sample.value, Distribution) else sample.value
            yield Observation(value, dict(sample.labels))

    return observe
