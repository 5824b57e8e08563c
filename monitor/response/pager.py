"""What of the enforcer's book is an alert, and what it says: so that a page waits for no scrape.

The labels are those of the alerts in deploy/prometheus/alerts.yml: what is pushed and what is scraped is
one alert to Alertmanager, and one notification. Who it is about stands in the annotations only, where
that is wanted, and never for the credential of a person.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import AXIS_PATIENT
from monitor.observe.alertmanager import LAPSE_SECONDS, Alert, AlertDesk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monitor.observe.metrics import Metrics
    from monitor.settings import ObserveSettings
    from monitor.wire.credentials import CredentialRecord

#: Kinds of credential that a person has, whose name tells who it is.
_OF_PEOPLE: Final = frozenset({"session", "account"})
#: How long a finding is shown that refuses nobody, in seconds: as long as Prometheus shows it.
FINDING_SECONDS: Final = 900.0
_RUNBOOKS: Final = "docs/runbooks"


class Pager:
    """Turns records and findings into alerts, and pushes them."""

    def __init__(self, observe: ObserveSettings, metrics: Metrics) -> None:
        self._names = observe.alert_names
        self._incident_url = observe.incident_url
        self._metrics = metrics
        self._desk = AlertDesk(observe.alertmanagers, metrics)
        #: What fires, by the incident: the record as it was, and its alert.
        self._shown: dict[str, tuple[CredentialRecord, Alert]] = {}

    def start(self, book: Iterable[CredentialRecord]) -> None:
        """Take over: go on with what fires, and end what the one before may have left firing."""
        now = time.time()
        records = list(book)
        for record in records:
            last = max(record.since_ms, record.enforced_ms or 0, record.requested_ms) / 1000
            if not _fires(record) and record.incident and last > now - LAPSE_SECONDS:
                self._desk.add(self._alert(record, until=now))
        self.show(records)
        self._desk.start()

    async def stop(self) -> None:
        """Stand down."""
        await self._desk.stop()

    def show(self, book: Iterable[CredentialRecord]) -> None:
        """Let what is open and not contained fire, and what no longer is end."""
        before, self._shown = self._shown, {}
        for record in book:
            if not _fires(record):
                continue
            shown = before.get(record.incident)
            if shown is None or shown[0] is not record:
                shown = record, self._alert(record)
            self._shown[record.incident] = shown
        self._desk.want([alert for _, alert in self._shown.values()])
        for incident in self._shown.keys() - before.keys():
            self._desk.on_next(_Since(self._metrics, self._shown[incident][0].requested_ms))

    def found(self, finding: Mapping[str, Any]) -> None:
        """Let a finding of a rule that only alerts fire for a while; one in shadow mode does not."""
        if finding["action"] != "alert" or finding["mode"] != "enforce":
            return
        now = time.time()
        patient = finding["axis"] == AXIS_PATIENT
        name = "AccessMonitorPatientFinding" if patient else "AccessMonitorFinding"
        rule = finding["rule"]
        named = self._names and finding["principal"] and finding["principal_kind"] not in _OF_PEOPLE
        annotations = {
            "summary": finding["summary"] if named else rule["title"],
            "description": f"{rule['title']} ({rule['level']}). It refuses nobody.",
            "runbook_url": f"{_RUNBOOKS}/{'patient-finding' if patient else 'finding'}.md",
            "finding": finding["id"],
        }
        if named:
            annotations["credential"] = f"{finding['realm']}/{finding['principal']}"
        labels = {
            "alertname": name,
            "rule": rule["id"],
            "severity": "info" if patient else "warning",
            "team": "privacy" if patient else "security",
        }
        self._desk.add(Alert(labels, annotations, now, now + FINDING_SECONDS))

    def _alert(self, record: CredentialRecord, until: float | None = None) -> Alert:
        named = self._names and record.kind not in _OF_PEOPLE and record.handle is None
        at_least = "at least " if record.patients_capped else ""
        annotations = {
            "summary": record.summary if named else f"{record.incident}: {record.rule.title}",
            "description": f"{record.rule.title} ({record.level}): {record.status.value}, {record.state},"
            f" {at_least}{record.patients} patients read. Not contained yet.",
            "runbook_url": f"{_RUNBOOKS}/incident.md",
        }
        if named:
            annotations["credential"] = record.subject
        if self._incident_url is not None:
            annotations["incident_url"] = self._incident_url.replace("{incident}", record.incident)
        labels = {
            "alertname": "AccessMonitorIncident",
            "incident": record.incident,
            "rule": record.rule.id,
            "severity": "critical",
            "team": "security",
        }
        return Alert(labels, annotations, record.requested_ms / 1000, until)


class _Since:
    """Observes how long after the decision the first Alertmanager had it."""

    def __init__(self, metrics: Metrics, requested_ms: int) -> None:
        self._metrics, self._requested_ms = metrics, requested_ms

    def __call__(self) -> None:
        self._metrics.page_seconds.observe(max(0.0, time.time() - self._requested_ms / 1000))


def _fires(record: CredentialRecord) -> bool:
    # What is held has alerts of its own: a week of history must not wake anybody for each credential.
    return record.refused and record.state != "enforced" and bool(record.incident)
