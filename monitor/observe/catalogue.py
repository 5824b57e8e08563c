"""What a catalogue of metrics is made of: each is declared once, with the roles that export it.

Names follow Prometheus: a prefix, base units, ``_total`` for counters, ``_info`` for what only has labels.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

PREFIX: Final = "access_monitor_"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
#: Whose a metric can be: of each process, of each worker, or of one role.
ROLES: Final = ("every", "worker", "intake", "detect", "enforce", "authz")


class Description(NamedTuple):
    """One metric of the catalogue; `name` as it is scraped, `role` that of the process that exports it."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str
    role: str


class Catalogue:
    """Declares metrics in a registry; one of a role that the process does not have is exported nowhere."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, roles: Collection[str] | None = None
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._roles = ROLES if roles is None else roles
        self._role = "every"
        self._described: list[Description] = []
        if registry is None:
            ProcessCollector(registry=self.registry)

    @property
    def catalogue(self) -> tuple[Description, ...]:
        """All metrics, also those of other roles, in the order of the flow."""
        return tuple(self._described)

    def _of(self, role: str) -> None:
        """Say whose the metrics are that are declared from here on."""
        self._role = role

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        registry = self._describe(name, "counter", labels, text)
        return Counter(PREFIX + name.removesuffix("_total"), text, labels, registry=registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        registry = self._describe(name, "gauge", labels, text)
        return Gauge(PREFIX + name, text, labels, registry=registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        registry = self._describe(name, "histogram", labels, text)
        return Histogram(PREFIX + name, text, labels, registry=registry, buckets=buckets)

    def _many(self, name: str, text: str, *, buckets: tuple[float, ...] = SECONDS) -> ManyHistogram:
        registry = self._describe(name, "histogram", (), text)
        histogram = ManyHistogram(PREFIX + name, text, buckets)
        if registry is not None:
            registry.register(histogram)
        return histogram

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], text: str) -> CollectorRegistry | None:
        self._described.append(Description(PREFIX + name, kind, labels, text, self._role))
        return self.registry if self._role == "every" or self._role in self._roles else None


class ManyHistogram:
    """A histogram that takes many equal observations at once: events come in records of many."""

    def __init__(self, name: str, text: str, buckets: Sequence[float]) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Add `count` observations of a value."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def collect(self) -> Iterator[Metric]:
        """Yield what is scraped (prometheus_client asks for it)."""
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)


def samples(metrics: Catalogue) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (name, labels, value) of everything that would be scraped now."""
    family: Any
    for family in metrics.registry.collect():
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
