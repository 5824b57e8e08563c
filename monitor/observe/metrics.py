"""The one catalogue of metrics: every metric of every role is declared here.

No label ever holds a patient, a key, a session or an address: rules, sources, reasons and states are
bounded sets, and the incidents that are listed are those open at the moment, up to a ceiling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor import __version__
from monitor.observe.catalogue import PREFIX, Description, samples
from monitor.observe.detect_metrics import DetectMetrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from prometheus_client import CollectorRegistry

    from monitor.core.rules import Rule

__all__ = ["PREFIX", "Description", "Metrics", "samples"]

#: Incidents listed by name: of more than these nobody reads the names on a page.
MOST_INCIDENTS: Final = 50
_AUTHZ_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
_PATIENTS: Final = (1, 10, 25, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics(DetectMetrics):
    """All metrics of a process, in a registry of its own; `roles` are those that it has (all by default)."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, roles: Collection[str] | None = None
    ) -> None:
        super().__init__(registry, roles=roles)
        self._declare_every()
        self._declare_worker()
        self._declare_intake()
        self._declare_feeds()
        self._declare_rules()
        self._declare_detect()
        self._declare_enforce()
        self._declare_authz()

    def _declare_every(self) -> None:
        self._of("every")
        self.build_info = self._gauge("build_info", "1, with the version that runs.", "version")
        self.build_info.labels(__version__).set(1)
        self.role_ready = self._gauge(
            "role_ready",
            "1 where this process does the work of a role: it has its partitions, is the active enforcer"
            " or stands by for it, or knows the refused credentials; else 0.",
            "role",
        )

    def _declare_worker(self) -> None:
        self._of("worker")
        self.lag_records = self._gauge(
            "lag_records",
            "Records between a consumer group's position and the end of a topic's partitions here.",
            "group",
            "topic",
        )
        self.lag_seconds = self._gauge(
            "lag_seconds",
            "How long the oldest record of a topic has waited that this process has not applied yet, in"
            " seconds since it came into Kafka, or since this process began to watch; 0 with none.",
            "group",
            "topic",
        )
        self.partitions = self._gauge(
            "partitions", "Partitions of a topic that this process reads.", "group", "topic"
        )

    def _declare_intake(self) -> None:
        self._of("intake")
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
        self.rejected_withheld_total = self._counter(
            "rejected_withheld_total",
            "Records that could not be read and got no dead letter of their own, since there were too many.",
            "source",
            "reason",
        )
        self.repeated_records_total = self._counter(
            "repeated_records_total",
            "Records without an id of the gateway's whose bytes came before, among the last 10,000 different"
            " ones of their partition: they count twice.",
            "source",
        )
        self.secrets_in_logs_total = self._counter(
            "secrets_in_logs_total",
            "Secrets that a gateway wrote into its log, dropped at decoding, by their place in the format.",
            "source",
            "place",
        )
        self.routed_records_total = self._counter(
            "routed_records_total", "Kafka records that intake sent to the routed topic."
        )
        self.source_watermark_timestamp_seconds = self._gauge(
            "source_watermark_timestamp_seconds",
            "Time of the newest event read from a source, in seconds since the epoch; 0 with none yet.",
            "source",
        )
        self.source_moved_timestamp_seconds = self._gauge(
            "source_moved_timestamp_seconds",
            "When that last moved, or this process began to read, in seconds since the epoch: while no"
            " source moves, the monitor is blind.",
            "source",
        )
        self.rule_info = self._gauge(
            "rule_info",
            "1 for each rule that intake routes by, with its title, level, mode, action and the axis that"
            " it counts by.",
            "rule",
            "title",
            "level",
            "mode",
            "action",
            "axis",
        )
        self.rule_threshold = self._gauge(
            "rule_threshold", "The number from which on a rule finds a limit exceeded.", "rule"
        )

    def _declare_rules(self) -> None:
        self._of("worker")
        self.gap_records_total = self._counter(
            "gap_records_total",
            "Records that retention deleted before they were read.",
            "group",
            "topic",
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

    def _declare_enforce(self) -> None:
        self._of("enforce")
        self.decisions_total = self._counter("decisions_total", "Entries of the ledger, by kind.", "kind")
        # A counter that begins with 1 has no increase: what alerts count must be there before.
        for kind in ("requested", "held", "failed"):
            self.decisions_total.labels(kind)
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
        self.drill_last_successful = self._gauge(
            "drill_last_successful", "1 where the last drill of a gateway held, else 0.", "adapter"
        )
        self.drill_timestamp_seconds = self._gauge(
            "drill_timestamp_seconds",
            "When a gateway was last drilled, in seconds since the epoch.",
            "adapter",
        )
        self.drifts_total = self._counter(
            "drifts_total", "Times that a gateway had lost what it was told, and was told again.", "adapter"
        )
        self.oldest_undelivered_seconds = self._gauge(
            "oldest_undelivered_seconds",
            "Age of the oldest status that a gateway has not accepted, in seconds; 0 with none.",
        )
        self.open_incidents = self._gauge(
            "open_incidents", "Incidents whose response has not ended, by its state.", "state"
        )
        self.held = self._gauge(
            "held", "Responses that are held, by what holds them; the credentials stay active.", "reason"
        )
        self.oldest_held_seconds = self._gauge(
            "oldest_held_seconds",
            "Age of the oldest response that waits for a person, in seconds; 0 with none.",
        )
        self.held_patients = self._gauge(
            "held_patients",
            "Most patients that a credential has read whose response waits for a person.",
        )
        self.held_pages_total = self._counter(
            "held_pages_total",
            "Times that the patients read by a held credential had doubled: each is a page.",
        )
        self.directory_readable = self._gauge(
            "directory_readable",
            "0 where the credential directory has changed and cannot be read: the one before stays; else 1.",
        )
        self.fuses_blown = self._gauge(
            "fuses_blown", "Fuses that have blown and hold everything automatic of their kind."
        )
        self.break_glass_until_timestamp_seconds = self._gauge(
            "break_glass_until_timestamp_seconds",
            "Until when automation is paused, or everybody let through, in seconds since the epoch;"
            " 0 where it is not.",
            "glass",
        )
        self.leaks_total = self._counter(
            "leaks_total", "Successful requests of a credential after it was refused."
        )
        self.enforcer_active = self._gauge(
            "enforcer_active", "1 where this process is the one active enforcer, else 0."
        )
        self.incident_info = self._gauge(
            "incident_info",
            "1 for each open incident (its response has not ended), with its rule's id and state; the newest"
            " ones, up to a ceiling.",
            "incident",
            "rule",
            "state",
        )
        self.incident_patients = self._histogram(
            "incident_patients",
            "Patients that a credential had read when its incident was contained (or was given up).",
            buckets=_PATIENTS,
        )
        self.decision_seconds = self._histogram(
            "decision_seconds",
            "Time of the event that exceeded a limit to the enforcer's decision, in seconds.",
        )
        self.accepted_seconds = self._histogram(
            "accepted_seconds", "Decision to the gateway's acceptance, in seconds."
        )
        self.enforced_seconds = self._histogram(
            "enforced_seconds", "Decision to the first refusal seen in the events, in seconds."
        )
        self.pages_total = self._counter(
            "pages_total",
            "Calls to an Alertmanager about open incidents and findings, by its place in the settings and"
            " result (accepted, failed).",
            "alertmanager",
            "result",
        )
        self.page_seconds = self._histogram(
            "page_seconds", "Decision to the first Alertmanager's acceptance of its alert, in seconds."
        )
        self.takeovers_total = self._counter(
            "takeovers_total", "Times that this process became the active enforcer."
        )
        self.operator_acts_total = self._counter(
            "operator_acts_total",
            "Acts that people asked of the enforcer, by kind and outcome.",
            "kind",
            "outcome",
        )
        self.operator_refused_total = self._counter(
            "operator_refused_total", "Requests that the operator API did not admit, by reason.", "reason"
        )

    def _declare_authz(self) -> None:
        self._of("authz")
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
        self.authz_allow_all = self._gauge("authz_allow_all", "1 while everybody is let through, else 0.")
        self.authz_ready = self._gauge(
            "authz_ready", "1 where the decision service knows the current set, else 0."
        )

    def tell_rules(self, rules: Iterable[Rule]) -> None:
        """Export a rule set in the place of the one before."""
        self.rule_info.clear()
        self.rule_threshold.clear()
        for rule in rules:
            self.rule_info.labels(rule.id, rule.title, rule.level, rule.mode, rule.action, rule.axis).set(1)
            self.rule_threshold.labels(rule.id).set(rule.threshold)

    def list_incidents(self, incidents: Iterable[tuple[str, str, str]]) -> None:
        """Export the open incidents (name, rule, state), the newest ones where there are too many."""
        self.incident_info.clear()
        newest = sorted(incidents, key=lambda incident: (len(incident[0]), incident[0]), reverse=True)
        for incident in newest[:MOST_INCIDENTS]:
            self.incident_info.labels(*incident).set(1)
