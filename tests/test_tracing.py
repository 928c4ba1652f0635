"""Tracing: every call of a port is one span of the right parent, ended whatever happens, without a private word."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span

from storycore.errors import NotFound, Unavailable
from storycore.layers.around import OPERATIONS
from storycore.layers.retry import Retrying, RetrySettings
from storycore.layers.stack import stacked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.telemetry.tracing import Tracing

GET = OPERATIONS[PortName.ENTITIES]["get"]


@dataclass
class Bench:
    """A layer whose spans and durations are kept."""

    layer: Tracing
    tracer: Tracer
    spans: InMemorySpanExporter
    meters: MeterProvider
    reader: InMemoryMetricReader

    def finished(self) -> list[ReadableSpan]:
        """The layer's own spans."""
        return [span for span in self.spans.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def call(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """``entities.get`` that does this, in the layer."""
        return self.layer.surround(GET, work)


@pytest.fixture
def bench() -> Iterator[Bench]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider(metric_readers=[reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    layer = Tracing("dynamodb", tracer_provider=tracers, meter_provider=meters)
    yield Bench(layer, tracers.get_tracer("test"), spans, meters, reader)
    tracers.shutdown()
    meters.shutdown()


async def test_a_call_is_a_span(bench: Bench) -> None:
    """Named by port and operation, with what the conventions call for; the size of a batch where there is one."""

    async def work(keys: list[str], *, consistent: bool) -> str:
        return f"{len(keys)} {consistent}"

    assert await bench.call(work)(["a", "b"], consistent=True) == "2 True"
    [span] = bench.finished()
    assert (span.name, span.status.status_code) == ("entities.get", StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "db.system.name": "aws.dynamodb",
        "db.operation.name": "get",
        "db.operation.batch.size": 2,
        "storycore.port": "entities",
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable("down at secret"), StatusCode.ERROR), (NotFound("no secret"), StatusCode.UNSET)],
    ids=["a failure", "an answer"],
)
async def test_an_error_is_named_and_not_quoted(bench: Bench, error: Exception, status: StatusCode) -> None:
    """Its class is told; only what is nobody's answer makes the span a failed one."""

    async def work() -> None:
        raise error

    with pytest.raises(type(error)):
        await bench.call(work)()
    [span] = bench.finished()
    assert (span.attributes or {})["error.type"] == type(error).__name__
    assert (span.status.status_code, span.status.description, list(span.events)) == (status, None, [])
    assert "secret" not in span.to_json()


async def test_a_cancelled_call_ends_its_span(bench: Bench) -> None:
    """Its caller has left, which is no failure of the port."""

    async def work() -> None:
        await asyncio.sleep(10)

    task = asyncio.ensure_future(bench.call(work)())
    await asyncio.sleep(0)
    assert bench.finished() == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    [span] = bench.finished()
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert span.status.status_code is StatusCode.UNSET


async def test_attempts_of_one_call_are_one_span(bench: Bench) -> None:
    """It stands around retries, so it is as long as the caller waited."""
    attempts = 0

    async def work() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Unavailable("not now")
        return "there"

    retrying = Retrying(RetrySettings(base_seconds=0.001), random.Random(1))
    assert Tracing.slot < Retrying.slot
    assert await bench.call(lambda: retrying(GET, work))() == "there"
    [span] = bench.finished()
    assert (attempts, "error.type" in (span.attributes or {})) == (3, False)


@given(pauses=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, database=None, derandomize=True)
def test_each_span_has_its_own_callers_parent(pauses: list[list[int]]) -> None:
    """However tasks take turns: a call is a child of its caller's span, and what the port does a child of the call."""
    spans, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    tracer, layer = tracers.get_tracer("test"), Tracing("memory", tracer_provider=tracers)

    async def work(turns: int) -> None:
        with tracer.start_as_current_span("inside"):
            for _ in range(turns):
                await asyncio.sleep(0)

    call = layer.surround(GET, work)

    async def caller(number: int, turns: list[int]) -> None:
        with tracer.start_as_current_span(f"caller {number}") as own:
            for each in turns:
                await call(each)
                assert get_current_span() is own

    async def run() -> None:
        await asyncio.gather(*(caller(number, turns) for number, turns in enumerate(pauses)))

    asyncio.run(run())
    found = spans.get_finished_spans()
    by_id = {span.context.span_id: span for span in found}

    def parents(span: ReadableSpan) -> list[str]:
        return [] if span.parent is None else [by_id[span.parent.span_id].name, *parents(by_id[span.parent.span_id])]

    inside = sorted(parents(span) for span in found if span.name == "inside")
    expected = [["entities.get", f"caller {number}"] for number, turns in enumerate(pauses) for _ in turns]
    assert inside == sorted(expected)
    assert len(found) == len(pauses) + 2 * sum(map(len, pauses))
    tracers.shutdown()


async def test_durations_are_recorded(bench: Bench) -> None:
    """Under the conventions' name, in seconds, with the class of the error; also of spans that nobody keeps."""

    async def work(fails: bool) -> None:
        if fails:
            raise Unavailable("down")

    unkept = TracerProvider(sampler=ALWAYS_OFF)
    for layer in (bench.layer, Tracing("dynamodb", tracer_provider=unkept, meter_provider=bench.meters)):
        call = layer.surround(GET, work)
        await call(False)
        with pytest.raises(Unavailable):
            await call(True)
    data: Any = bench.reader.get_metrics_data()
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    counts = {point.attributes.get("error.type"): point.count for point in metric.data.data_points}
    assert (metric.name, metric.unit, counts) == ("db.client.operation.duration", "s", {None: 2, "Unavailable": 2})
    assert list(metric.data.data_points[0].explicit_bounds) == [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
    unkept.shutdown()


@pytest.mark.parametrize("key", ["mallory's diary", "user#ada", "a/b"])
async def test_no_key_and_no_body_is_told(bench: Bench, key: str) -> None:
    """Whatever is written, read or refused."""
    async with stacked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), Environment()), [bench.layer]) as port:
        blobs: Any = port
        await blobs.put(key, b"dear diary", when=ANY, metadata={"whose": "mallory"})
        with pytest.raises(NotFound):
            await blobs.get(key + "?")
        await blobs.delete([key])
    told = "".join(span.to_json() for span in bench.finished())
    assert len(bench.finished()) == 3
    assert not any(word in told for word in (key, "diary", "mallory"))


SCRIPT = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import storycore
from storycore.story import User

kept = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(kept))
with storycore.open_sync("memory", overrides={"plugins": ["otel"]}) as store:
    with trace.get_tracer("mine").start_as_current_span("request") as request:
        store.users.save(User(email="ada@example.com", username="ada"))
    own = request.get_span_context()
    print(json.dumps({
        span.name: [span.attributes["db.system.name"], span.context.trace_id == own.trace_id]
        for span in kept.get_finished_spans() if span.name != "request"
    }))
"""


def test_a_profile_names_it_and_the_sync_face_hands_the_span_on() -> None:
    """Every port of the store is traced, below the span of whoever calls from another thread."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {"entities.write", "cache.invalidate"} <= set(found)
    assert set(map(tuple, found.values())) == {("memory", True)}


def test_without_the_library_the_cure_is_named() -> None:
    """Opening the store says what to install."""
    script = (
        "import sys\nsys.modules['opentelemetry'] = None\nimport storycore\nfrom storycore.errors import ConfigError\n"
        "try:\n    with storycore.open_sync('memory', overrides={'plugins': ['otel']}) as store:\n"
        "        store.users.find('x')\nexcept ConfigError as exc:\n    print(exc.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'storycore[otel]'" in done.stdout
