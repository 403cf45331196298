"""Count what an inference server does, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from adapterhub_fin.engine.pool.latency import Histogram
from adapterhub_fin.engine.pool.pool import Pool
from adapterhub_fin.engine.pool.serving import Serving
from adapterhub_fin_registry.hub_server.http.access import RequestMetrics

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
_OUTCOMES: Final = ("answered", "failed", "overloaded", "expired", "cancelled")


class InferenceMetrics(RequestMetrics):
    """Hold the metrics of the requests, the rows, the pool and the process; no adapter's name is a label."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._rows = _Rows(pool)
        self.registry.register(self._rows)
        ProcessCollector(registry=self.registry)

    def watch(self, serving: Serving) -> None:
        """Count the rows of a serving from now on."""
        self._rows.serving = serving


class _Rows(Collector):
    """Read the counts of a pool and of its serving when they are asked for."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.serving: Serving | None = None

    def collect(self) -> Iterator[Any]:
        pool = asdict(self.pool.stats())
        for name, text in (("bytes", "Bytes of versions in memory"), ("limit", "Bytes that versions may take")):
            yield GaugeMetricFamily(f"ahf_pool_{name}", text, pool[name])
        yield GaugeMetricFamily("ahf_pool_resident", "Versions in memory", pool["resident"])
        for name in ("hits", "loads", "evictions"):
            yield CounterMetricFamily(f"ahf_pool_{name}", f"{name.capitalize()} of versions", pool[name])
        if self.serving is None:
            return
        stats = self.serving.stats()
        rows = CounterMetricFamily("ahf_rows", "Rows by how they ended", labels=["outcome"])
        for outcome in _OUTCOMES:
            rows.add_metric([outcome], getattr(stats, outcome))
        yield rows
        yield GaugeMetricFamily("ahf_rows_waiting", "Rows accepted and not answered", stats.waiting)
        yield CounterMetricFamily("ahf_batches", "Batches computed", stats.batches)
        yield _seconds("ahf_queue_seconds", "Time until a row's batch begins", self.serving.queue_time)
        yield _seconds("ahf_compute_seconds", "Time that a row's batch computes", self.serving.compute_time)


def _seconds(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    below, count, total = histogram.below(_BOUNDS)
    buckets = [(str(bound), float(count)) for bound, count in zip(_BOUNDS, below, strict=True)]
    return HistogramMetricFamily(name, text, buckets=[*buckets, ("+Inf", float(count))], sum_value=total)
