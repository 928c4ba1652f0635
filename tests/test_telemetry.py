"""Telemetry: what was counted is what happened, and Prometheus and OpenTelemetry are told the same."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import storycore
from storycore.app import Store
from storycore.errors import AlreadyExists, ConfigError, NotFound
from storycore.jobs import Job
from storycore.ports.conditions import ABSENT, ANY
from storycore.telemetry.families import Distribution, Family, Kind, Measured, Sample
from storycore.telemetry.opentelemetry import instrument
from storycore.telemetry.prometheus import StoreCollector, served

CALLS = st.lists(st.tuples(st.sampled_from(["put", "create", "head", "get", "delete"]), st.sampled_from("ab")))


def exposed(*stores: Measured) -> dict[str, Any]:
    """What a scrape gives: name of each sample and its labels to its value."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(*stores))
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(family: Any, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a family under some labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if sample.name == name
    }


def of_blobs(found: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in found.items() if key[0] == "blobs" and value}


async def act(store: Store, calls: Sequence[tuple[str, str]]) -> Counter[tuple[str, ...]]:
    """Do the calls; how often each is to end how."""
    expected: Counter[tuple[str, ...]] = Counter()
    there: set[str] = set()
    for call, key in calls:
        is_there, outcome = key in there, "done"
        try:
            match call:
                case "put":
                    await store.blobs.put(key, b"x", when=ANY)
                case "create":
                    await store.blobs.put(key, b"x", when=ABSENT)
                case "get":
                    async with await store.blobs.get(key):
                        pass
                case "head":
                    assert (await store.blobs.head(key) is not None) == is_there
                case "delete":
                    await store.blobs.delete([key])
        except (AlreadyExists, NotFound):
            outcome = "refused"
        assert (outcome == "refused") == ((call == "create" and is_there) or (call == "get" and not is_there))
        if outcome == "done" and call in ("put", "create"):
            there.add(key)
        there -= {key} if call == "delete" else set()
        expected[{"create": "put"}.get(call, call), outcome] += 1
    return expected


@given(calls=CALLS)
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
def test_what_is_counted_is_what_happened(calls: Sequence[tuple[str, str]]) -> None:
    """For any calls, each is counted once by its outcome and once by how long it took."""

    async def run() -> None:
        async with storycore.open("memory") as store:
            expected = await act(store, [*calls, ("head", "a")])
            families = exposed(store)
            total = "storycore_operations_total"
            found = values(families["storycore_operations"], total, "port", "operation", "outcome")
            assert of_blobs(found) == expected
            durations = families["storycore_operation_duration_seconds"]
            counts = of_blobs(values(durations, f"{durations.name}_count", "port", "operation"))
            calls_of = Counter(name for name, _ in expected.elements())
            assert counts == {(name,): count for name, count in calls_of.items()}

    asyncio.run(run())


async def test_buckets_hold_one_another() -> None:
    """Each holds those below it, and the last holds all."""
    async with storycore.open("memory") as store:
        await act(store, [("put", "a"), ("head", "a"), ("head", "b")])
        durations = exposed(store)["storycore_operation_duration_seconds"]
        for port, operation in values(durations, f"{durations.name}_count", "port", "operation"):
            buckets = [
                sample.value
                for sample in durations.samples
                if sample.name.endswith("_bucket")
                and (sample.labels["port"], sample.labels["operation"]) == (port, operation)
            ]
            assert buckets == sorted(buckets)
            assert buckets[-1] == values(durations, f"{durations.name}_count", "port", "operation")[port, operation]


async def test_several_stores_share_one_scrape() -> None:
    """The namespace tells them apart, and no name comes twice."""
    async with (
        storycore.open("memory", overrides={"namespace": "one"}) as one,
        storycore.open("memory", overrides={"namespace": "two"}) as two,
    ):
        await act(one, [("put", "a")])
        await act(two, [("put", "a"), ("put", "b")])
        family = exposed(one, two)["storycore_operations"]
        found = values(family, "storycore_operations_total", "namespace", "operation", "outcome")
        assert (found["one", "put", "done"], found["two", "put", "done"]) == (1, 2)


async def test_jobs_are_told_as_they_were_last_seen() -> None:
    """Nothing before anybody looked; then how runs ended, when the last good one was, and whether all is well."""
    async with storycore.open("memory") as store:
        assert "storycore_job_runs" not in exposed(store)

        async def fails() -> None:
            raise ValueError("no")

        async def works() -> None:
            return None

        store.jobs.add(Job(name="bad", cron="0 2 * * *", work=fails))
        store.jobs.add(Job(name="good", cron="0 2 * * *", work=works))
        await store.jobs.run("bad")
        await store.jobs.run("good")
        await store.jobs.list()
        families = exposed(store)
        runs = values(families["storycore_job_runs"], "storycore_job_runs_total", "job", "outcome")
        assert {key: count for key, count in runs.items() if count} == {("bad", "failed"): 1, ("good", "done"): 1}
        well = values(families["storycore_job_healthy"], "storycore_job_healthy", "job")
        assert (well["bad",], well["good",]) == (0, 1)
        name = "storycore_job_last_success_timestamp_seconds"
        good = values(families[name], name, "job")
        assert list(good) == [("good",)]
        assert abs(good["good",] - store.env.clock.now().timestamp()) < 60


async def test_the_cache_is_told_by_region_and_result() -> None:
    """A read that was loaded is a miss; the next one is answered from memory."""
    async with storycore.open("memory") as store:

        @store.cache.cached("page:{n}", ttl=60)
        async def page(n: int) -> str:
            return f"<{n}>"

        assert [await page(7), await page(7)] == ["<7>", "<7>"]
        found = values(exposed(store)["storycore_cache_reads"], "storycore_cache_reads_total", "region", "result")
        assert (found["page:{n}", "miss"], found["page:{n}", "memory"]) == (1, 1)


@given(key=st.text("abcdefghijklmnop", min_size=12, max_size=20))
@settings(max_examples=10, deadline=None, database=None, derandomize=True)
def test_no_key_is_told(key: str) -> None:
    """Labels are names of the profile and of code."""

    async def run() -> None:
        async with storycore.open("memory") as store:
            await act(store, [("put", key), ("create", key), ("get", key)])
            registry = CollectorRegistry()
            registry.register(StoreCollector(store))
            assert key.encode() not in generate_latest(registry)

    asyncio.run(run())


async def test_opentelemetry_is_told_the_same() -> None:
    """Every sum and gauge that Prometheus sees is observed, with the same labels; of durations the sum."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    async with storycore.open("memory") as store:
        instrument(store, provider)
        await act(store, [("put", "a"), ("create", "a"), ("get", "b")])
        data: Any = reader.get_metrics_data()
        observed = {
            metric.name: {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }
        expected = {
            f"storycore.{family.name}": {tuple(sorted(each.labels.items())): plain(each) for each in family.samples}
            for family in store.telemetry()
            if family.samples
        }
        assert observed == expected
    provider.shutdown()


def plain(sample: Sample) -> float:
    return sample.value.total if isinstance(sample.value, Distribution) else sample.value


class Fixed:
    """Something that was measured."""

    def telemetry(self) -> Sequence[Family]:
        return [Family("things", Kind.GAUGE, "Some.", [Sample({"kind": "a"}, 3)])]


def test_a_store_that_is_gone_is_not_observed() -> None:
    """An exporter holds no store back."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    store = Fixed()
    instrument(store, provider)
    assert reader.get_metrics_data() is not None
    del store
    assert reader.get_metrics_data() is None
    provider.shutdown()


def test_it_is_served_until_the_block_ends() -> None:
    """By a thread that ends with it."""
    before = threading.active_count()
    with served(StoreCollector(Fixed())) as port:
        assert b'storycore_things{kind="a"} 3.0' in fetched(port)
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        fetched(port)


def test_a_port_that_is_taken_is_named() -> None:
    """With the address and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"127\.0\.0\.1, port {port}: .*in use"),
            served(StoreCollector(), port=port),
        ):
            pass


def fetched(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return bytes(answer.read())


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A runner of jobs that serves its metrics."""
    command = [sys.executable, "-m", "storycore", "jobs", "run", "--profile", "memory", "--metrics-port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_runner_of_jobs_serves_them(runner: subprocess.Popen[str]) -> None:
    """The command says where, and ends as it does without them."""
    assert runner.stderr is not None
    said = runner.stderr.readline()
    place = re.fullmatch(r"Metrics are at http://127\.0\.0\.1:(\d+)/metrics\.\n", said)
    assert place is not None, said
    assert b"storycore_cache_entries" in fetched(int(place[1]))
    assert "until Ctrl-C" in runner.stderr.readline()
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(20) == 0
    assert runner.stderr.read() == "Stopped.\n"


def test_a_single_run_serves_none(tmp_path: Path) -> None:
    """It would be over before anybody looked."""
    command = [sys.executable, "-m", "storycore", "jobs", "run", "x", "--metrics-port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "without NAME" in done.stderr) == (2, True)


@pytest.mark.parametrize("module", ["prometheus", "opentelemetry"])
def test_what_is_missing_is_named_with_its_extra(module: str) -> None:
    """An exporter whose library is not installed says what to install."""
    library, extra = {"prometheus": ("prometheus_client", "prometheus"), "opentelemetry": ("opentelemetry", "otel")}[
        module
    ]
    script = (
        f"import sys\nsys.modules[{library!r}] = None\nfrom storycore.errors import ConfigError\n"
        f"try:\n    import storycore.telemetry.{module}\nexcept ConfigError as exc:\n    print(exc.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"pip install 'storycore[{extra}]'" in done.stdout
