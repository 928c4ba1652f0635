"""Telemetry for Prometheus: a collector for any registry, and a small server. Needs ``storycore[prometheus]``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

from storycore.errors import ConfigError
from storycore.telemetry.families import Distribution, Family, Kind, Measured, Sample

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ConfigError(
        "Metrics for Prometheus need prometheus-client; install it with: pip install 'storycore[prometheus]'"
    ) from exc

__all__ = ["StoreCollector", "served"]


class StoreCollector(Collector):
    """Gives what stores have counted to a registry: ``REGISTRY.register(StoreCollector(store))``.

    Each look costs no I/O. Names are ``storycore_operations_total``, ``storycore_operation_duration_seconds`` and so
    on. The stores of one process belong into one collector, for a name may come from one alone; the labels ``profile``
    and ``namespace`` tell them apart.

    Args:
        stores: any number of open ones; a closed one goes on telling its last numbers.
    """

    def __init__(self, *stores: Measured) -> None:
        self._stores = stores

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is shows when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        for families in zip(*(store.telemetry() for store in self._stores), strict=True):
            samples = [sample for family in families for sample in family.samples]
            if samples:
                yield _metric(families[0], samples)


@contextmanager
def served(collector: Collector, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serve a collector's metrics over HTTP, from a thread of its own, until the block ends.

    Args:
        host: whoever reaches it may read.
        port: 0 for a free one.

    Returns:
        the port.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"Metrics cannot be served on {host}, port {port}: {exc}.") from exc
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _metric(family: Family, samples: Sequence[Sample]) -> Metric:
    name = f"storycore_{family.name.replace('.', '_')}" + (f"_{family.unit}" if family.unit else "")
    labels = list(samples[0].labels)
    metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    match family.kind:
        case Kind.HISTOGRAM:
            metric = HistogramMetricFamily(name, family.about, labels=labels)
            for sample in samples:
                if isinstance(sample.value, Distribution):
                    metric.add_metric(_values(labels, sample), _buckets(sample.value), sample.value.total)
            return metric
        case Kind.COUNTER:
            metric = CounterMetricFamily(name, family.about, labels=labels)
        case Kind.GAUGE:
            metric = GaugeMetricFamily(name, family.about, labels=labels)
    for sample in samples:
        if not isinstance(sample.value, Distribution):
            metric.add_metric(_values(labels, sample), sample.value)
    return metric


def _values(labels: Sequence[str], sample: Sample) -> list[str]:
    return [sample.labels[label] for label in labels]


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    return list(zip([*map(str, value.bounds), "+Inf"], accumulate(value.within), strict=True))
