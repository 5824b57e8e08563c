"""The one catalogue of metrics.

Names follow Prometheus: a prefix, base units, ``_total`` for counters. No label ever holds a
patient, a key, a session or an address: rules, sources, reasons and states are bounded sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX: Final = "access_monitor_"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_AUTHZ_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


class Description(NamedTuple):
    """One metric of the catalogue; `name` as it is scraped."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    """All metrics of a process, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._described: list[Description] = []
        # Intake
        self.events_total = self._counter(
            "events_total",
            "Records read from a source: routed, rejected (dead letters), or unrouted since they"
            " name no authenticated credential.",
            "source",
            "outcome",
        )
        self.rejected_total = self._counter(
            "rejected_total", "Records sent to the dead letters, by reason.", "source", "reason"
        )
        self.routed_records_total = self._counter(
            "routed_records_total", "Kafka records that intake sent to the routed topic."
        )
        # Every role
        self.lag_records = self._gauge(
            "lag_records",
            "Records between a consumer group's position and the end of a topic's partitions here.",
            "group",
            "topic",
        )
        self.partitions = self._gauge(
            "partitions", "Partitions of a topic that this process reads.", "group", "topic"
        )
        self.rejoins_total = self._counter(
            "rejoins_total",
            "Times that a role left its group and joined again after a passing fault of a broker.",
            "role",
            "reason",
        )
        self.blind_seconds_total = self._counter(
            "blind_seconds_total",
            "Seconds from such a fault until all partitions of the role were open again.",
            "role",
        )
        self.rules_version = self._gauge("rules_version", "Version of the rule set that intake routes by.")
        self.rules_differ_from_files = self._gauge(
            "rules_differ_from_files",
            "1 where this machine's rule files say something else than the rule set in force, or cannot"
            " be read; else 0.",
        )
        self.rules_last_reload_successful = self._gauge(
            "rules_last_reload_successful",
            "1 where the last SIGHUP put the rule files in force, or found them so; else 0.",
        )
        self.rules_last_reload_successful.set(1)  # as Prometheus has it: none has failed yet
        self.rules_last_reload_success_timestamp_seconds = self._gauge(
            "rules_last_reload_success_timestamp_seconds",
            "When a SIGHUP last did so, in seconds since the epoch; 0 with none.",
        )
        self.rules_reload_failures_total = self._counter(
            "rules_reload_failures_total",
            "SIGHUPs whose rules did not come into force: the ones before stay.",
        )
        self.allow_list_expiry_timestamp_seconds = self._gauge(
            "allow_list_expiry_timestamp_seconds",
            "From which event time on an allow-list leaves out nobody, in seconds since the epoch.",
            "allow_list",
        )
        # Detect
        self.rows_total = self._counter(
            "rows_total",
            "Routed rows: applied, duplicates (seen before), late (counted apart), lost_late (later"
            " than that), too_late (no effect), clamped (time ahead of Kafka's), replay_skipped,"
            " internal (judging failed).",
            "outcome",
        )
        self.coverage_gaps_total = self._counter(
            "coverage_gaps_total",
            "Routed records ignored because one before them never arrived; their sender repeats them.",
        )
        self.findings_total = self._counter(
            "findings_total", "Limits found exceeded, by rule.", "rule", "mode", "action"
        )
        self.subjects = self._gauge("subjects", "Credentials, patients and others held in memory.")
        self.flush_seconds = self._histogram(
            "flush_seconds", "Time to make a partition's state durable, in seconds."
        )
        self.state_bytes_total = self._counter("state_bytes_total", "Bytes written to the state topic.")
        self.recovery_seconds = self._gauge(
            "recovery_seconds", "Time that the last recovery of a partition took, in seconds."
        )
        self.recovery_records = self._gauge(
            "recovery_records", "State records that a recovery still has to read, by partition.", "partition"
        )
        # Enforce
        self.decisions_total = self._counter("decisions_total", "Entries of the ledger, by kind.", "kind")
        self.deliveries_total = self._counter(
            "deliveries_total", "Attempts to tell a gateway, by adapter and result.", "adapter", "result"
        )
        self.dead_letters = self._gauge(
            "dead_letters", "Credentials whose newest status a gateway has not taken, given up.", "adapter"
        )
        self.adapter_disabled = self._gauge(
            "adapter_disabled",
            "1 where a receiver answered 410 and is not called any more, else 0.",
            "adapter",
        )
        self.adapter_breaker_open = self._gauge(
            "adapter_breaker_open", "1 while a gateway takes no calls and one at a time is tried.", "adapter"
        )
        self.drifts_total = self._counter(
            "drifts_total", "Times that a gateway had lost what it was told, and was told again.", "adapter"
        )
        self.oldest_undelivered_seconds = self._gauge(
            "oldest_undelivered_seconds",
            "Age of the oldest status that a gateway has not accepted, in seconds; 0 with none.",
        )
        self.open_incidents = self._gauge(
            "open_incidents", "Incidents that are neither ended nor given up, by state.", "state"
        )
        self.leaks_total = self._counter(
            "leaks_total", "Successful requests of a credential after it was refused."
        )
        self.detection_seconds = self._histogram(
            "detection_seconds", "Event time to the enforcer's decision, in seconds."
        )
        self.accepted_seconds = self._histogram(
            "accepted_seconds", "Decision to the gateway's acceptance, in seconds."
        )
        self.enforced_seconds = self._histogram(
            "enforced_seconds", "Decision to the first refusal seen in the events, in seconds."
        )
        self.takeovers_total = self._counter(
            "takeovers_total", "Times that this process became the active enforcer."
        )
        # Operators
        self.operator_acts_total = self._counter(
            "operator_acts_total",
            "Acts that people asked of the enforcer, by kind and outcome.",
            "kind",
            "outcome",
        )
        self.operator_refused_total = self._counter(
            "operator_refused_total", "Requests that the operator API did not admit, by reason.", "reason"
        )
        # Authz
        self.authz_decisions_total = self._counter(
            "authz_decisions_total", "Answers to gateways.", "decision"
        )
        self.authz_seconds = self._histogram(
            "authz_seconds", "Time to answer a gateway, in seconds.", buckets=_AUTHZ_SECONDS
        )
        self.authz_credentials = self._gauge(
            "authz_credentials", "Credentials known to the decision service, by status.", "status"
        )
        self.authz_heartbeat_timestamp_seconds = self._gauge(
            "authz_heartbeat_timestamp_seconds",
            "When the enforcer last gave a sign of life, in seconds since the epoch.",
        )
        self.authz_ready = self._gauge(
            "authz_ready", "1 where the decision service knows the current set, else 0."
        )

    @property
    def catalogue(self) -> tuple[Description, ...]:
        """All metrics, in the order of the flow."""
        return tuple(self._described)

    def count_detect(self, counters: Mapping[str, int]) -> None:
        """Add what a detector counted since it was last asked."""
        for outcome, count in counters.items():
            if outcome == "gaps":
                self.coverage_gaps_total.inc(count)
            elif count:
                self.rows_total.labels(outcome).inc(count)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self._describe(name, "counter", labels, text)
        return Counter(PREFIX + name.removesuffix("_total"), text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self._describe(name, "gauge", labels, text)
        return Gauge(PREFIX + name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        self._describe(name, "histogram", labels, text)
        return Histogram(PREFIX + name, text, labels, registry=self.registry, buckets=buckets)

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], text: str) -> None:
        self._described.append(Description(PREFIX + name, kind, labels, text))


def samples(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (name, labels, value) of everything that would be scraped now."""
    family: Any
    for family in metrics.registry.collect():
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
