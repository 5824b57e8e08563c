"""What came of the demo: figures, and whether each link of the loop held."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from monitor.demo.traffic import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monitor.demo.follow import Finding
    from monitor.demo.receiver import Call
    from monitor.demo.traffic import Answer, Tally
    from monitor.wire.credentials import CredentialRecord


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the loop: what must hold, whether it did, and what was seen."""

    name: str
    held: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the attacker got; the rule finds `threshold` patients within `timespan_seconds`."""

    appointments: int
    appointments_total: int
    patients: int
    patients_total: int
    threshold: int
    timespan_seconds: int
    requests: int
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending the breaching request; None where it did not come to that.

    The breaching request is the one that read the threshold's patient. The finding and the decision
    are when they were made, the webhook is its arrival, the refusal is when its answer was in.
    """

    finding: float | None
    decision: float | None
    webhook: float | None
    first_refusal: float | None


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was seen of one attack with the monitor on."""

    attacker: Tally
    threshold: int
    finding: Finding | None
    credential: CredentialRecord | None
    calls: Sequence[Call]
    retries: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a run."""

    with_monitor: bool
    rate: float
    exposure: Exposure
    latency_ms: Latency
    leaked_after_decision: int
    partner_requests: int
    partner_refused: int
    partner_failed: int
    incident: str | None
    rule: str | None
    summary: str | None
    state: str | None
    start_seconds: float
    attack_seconds: float
    run_seconds: float
    links: tuple[Link, ...]

    @property
    def held(self) -> bool:
        """Whether every link held."""
        return all(link.held for link in self.links)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"held": self.held, **asdict(self)}


def breaching_answer(attacker: Tally, threshold: int) -> Answer | None:
    """Return the answer that brought the number of different patients to the threshold.

    In the order in which the requests were sent; None where there were not as many.
    """
    seen: set[str] = set()
    for answer in sorted(attacker.answers, key=lambda one: one.sent_ms):
        if answer.patient is not None and answer.patient not in seen:
            seen.add(answer.patient)
            if len(seen) == threshold:
                return answer
    return None


def first_refusal(attacker: Tally) -> Answer | None:
    """Return the refused answer that was in first."""
    refused = (answer for answer in attacker.answers if _is_refusal(answer))
    return min(refused, key=lambda one: one.answered_ms, default=None)


def latency(observed: Observed) -> Latency:
    """Return how long each step took from the breaching request on."""
    breach = breaching_answer(observed.attacker, observed.threshold)
    refusal = first_refusal(observed.attacker)
    call = _first_call(observed)

    def after(at_ms: float | None) -> float | None:
        return None if breach is None or at_ms is None else round(at_ms - breach.sent_ms, 1)

    return Latency(
        after(None if observed.finding is None else observed.finding.found_ms),
        after(None if observed.credential is None else observed.credential.requested_ms),
        after(None if call is None else call.at_ms),
        after(None if refusal is None else refusal.answered_ms),
    )


def leaked(observed: Observed) -> int:
    """Return how many requests sent after the decision were still answered with data."""
    credential = observed.credential
    if credential is None:
        return 0
    return sum(
        answer.patient is not None and answer.sent_ms > credential.requested_ms
        for answer in observed.attacker.answers
    )


def loop_links(observed: Observed) -> list[Link]:
    """Return the verdict on each link from the finding to the proof."""
    finding, credential, call = observed.finding, observed.credential, _first_call(observed)
    refusal = first_refusal(observed.attacker)
    suspended = credential is not None and credential.status.value != "active"
    refused = sum(_is_refusal(answer) for answer in observed.retries)
    return [
        Link("finding", finding is not None, finding.summary if finding else "no finding was seen"),
        Link(
            "decision",
            suspended,
            f"{credential.incident}: {credential.status.value}" if credential else "nothing was decided",
        ),
        Link(
            "webhook",
            call is not None and credential is not None and credential.accepted_ms is not None,
            f"{call.type}, signature verified" if call else "no call with a right signature came",
        ),
        Link(
            "refusal",
            refusal is not None,
            f"the gateway answered {refusal.status}" if refusal else "no request was refused",
        ),
        Link(
            "stays refused",
            bool(observed.retries) and refused == len(observed.retries),
            f"{refused} of {len(observed.retries)} later requests refused",
        ),
        Link(
            "proof",
            credential is not None and credential.enforced_ms is not None,
            "the monitor saw the refusal in the events: enforced"
            if credential is not None and credential.enforced_ms is not None
            else "the monitor did not see a refusal in the events",
        ),
    ]


def partners_link(partners: Iterable[Tally]) -> Link:
    """Return the verdict on the normal partners: none refused, none failed, all served."""
    tallies = list(partners)
    requests = sum(len(tally.answers) for tally in tallies)
    refused = sum(tally.refused for tally in tallies)
    failed = sum(tally.failed for tally in tallies)
    served = all(tally.answers for tally in tallies)
    detail = f"{refused} of {requests:,} requests refused, {failed} failed"
    return Link("partners untouched", served and not refused and not failed, detail)


def exposure(
    attacker: Tally, *, appointments: int, patients: int, threshold: int, timespan_seconds: int
) -> Exposure:
    """Return what the attacker got."""
    return Exposure(
        len(attacker.objects),
        appointments,
        len(attacker.patients),
        patients,
        threshold,
        timespan_seconds,
        len(attacker.answers),
        attacker.refused,
        attacker.failed,
    )


def _first_call(observed: Observed) -> Call | None:
    named = (call for call in observed.calls if call.credential == observed.attacker.client)
    return min(named, key=lambda call: call.at_ms, default=None)


def _is_refusal(answer: Answer) -> bool:
    return answer.status in REFUSALS
