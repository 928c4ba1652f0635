"""Tracing: a span of OpenTelemetry around each call of a port, and the histogram of how long they took.

Names and attributes are those of its conventions for database clients, version 1.33; where those have none they begin
with ``storycore``. Needs ``storycore[otel]``. Which spans are kept, and where they go, is the application's own SDK's
matter; without one, nothing is recorded.

It is the plugin ``otel``: a profile with ``plugins = ["otel"]`` has spans around all of its ports.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from storycore.errors import ConfigError
from storycore.hooks import hookimpl
from storycore.layers.around import Operation
from storycore.layers.metrics import REFUSALS
from storycore.ports.lifecycle import PortName

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Tracing", "storycore_layers"]

T = TypeVar("T")

_SYSTEMS = {"dynamodb": "aws.dynamodb", "redis": "redis", "sqlite": "sqlite"}
"""What the conventions call them; of others it is the adapter's name."""
_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""Those that the conventions advise for ``db.client.operation.duration``."""


@hookimpl
def storycore_layers(port: PortName, adapter: str) -> list[Tracing]:
    """Spans around every port."""
    return [Tracing(adapter)]


class Tracing:
    """Spans around the calls of one port.

    A span ends with its call, also when that is cancelled; of a call that gives a reader or an iterator, that is before
    anybody reads. No attribute holds a key, a body, or the message of an error.

    Args:
        adapter: the port's.
        tracer_provider, meter_provider: the global ones when nothing is said.

    Raises:
        ConfigError: ``storycore[otel]`` is not installed.
    """

    slot: ClassVar[int] = 15

    def __init__(
        self,
        adapter: str = "",
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ModuleNotFoundError as exc:
            raise ConfigError(
                "The plugin 'otel' needs opentelemetry-api; install it with: pip install 'storycore[otel]'",
                path="plugins",
            ) from exc
        self._adapter = adapter
        self._trace = trace
        self._tracer = trace.get_tracer("storycore", tracer_provider=tracer_provider)
        self._durations = metrics.get_meter("storycore", meter_provider=meter_provider).create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BOUNDS_SECONDS,
        )

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation in a span."""
        return await self.surround(operation, proceed)()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` in a span."""
        name = f"{operation.port}.{operation.name}"
        common = {
            "db.system.name": _SYSTEMS.get(self._adapter, self._adapter or "storycore"),
            "db.operation.name": operation.name,
            "storycore.port": str(operation.port),
        }
        clock = time.perf_counter

        @wraps(call)
        async def traced(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            begun, found = clock(), common
            try:
                with self._span(name, common, args):
                    return await call(*args, **kwargs)
            except BaseException as exc:
                found = {**common, "error.type": type(exc).__name__}
                raise
            finally:
                self._durations.record(clock() - begun, found)

        return traced

    @contextmanager
    def _span(self, name: str, common: Mapping[str, str], args: Sequence[object]) -> Iterator[None]:
        span = self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT, attributes=common)
        if not span.get_span_context().is_valid:  # there is no SDK
            yield
            return
        if span.is_recording() and args and isinstance(args[0], list | tuple) and len(args[0]) > 1:
            span.set_attribute("db.operation.batch.size", len(args[0]))
        try:
            with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except BaseException as exc:
            span.set_attribute("error.type", type(exc).__name__)
            if not isinstance(exc, (*REFUSALS, asyncio.CancelledError)):
                span.set_status(self._trace.StatusCode.ERROR)
            raise
        finally:
            span.end()
