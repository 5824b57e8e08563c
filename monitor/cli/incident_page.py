"""One incident, or one credential, as somebody reads it at three in the morning."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from monitor.cli.acting import person_of
from monitor.cli.operator_words import echo_json, named, pairs, plain, shown, when
from monitor.cli.rule_words import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.cli.acting import Reach
    from monitor.wire.views import CredentialView, IncidentView, Person


class Verdict(NamedTuple):
    """Whether an incident is contained, in a word and with its proof."""

    name: str
    proof: str


#: Why a response waits, and what ends that.
_HELD: Final = {
    "fuse": "a ceiling on automatic responses was reached; a person resets the fuse",
    "protected": "the credential is protected; two different people must approve",
    "stale": "the finding was older than response.max_age; a fresh one follows if it goes on",
    "paused": "automation is paused; it goes on when that ends, or when somebody approves",
}
#: What of a ledger's entry the timeline shows, in this order.
_TOLD: Final = ("outcome", "text", "summary", "adapter", "attempt", "proof", "leaked", "by", "reason", "why")


def is_unfinished(view: IncidentView) -> bool:
    """Return whether somebody is still to say what it was; `open` says whether the response goes on."""
    return view.closed is None and view.dismissed is None


def verdict(view: IncidentView) -> Verdict:
    """Return whether an incident is contained, and by what proof."""
    if view.state in {"expired", "reinstated", "dismissed"}:
        return Verdict("OVER", f"{view.state}{_at(view.ended_ms)}")
    if view.state == "held":
        why = _HELD.get(view.held_for, view.held_for)
        return Verdict("NOT REFUSED", f"the response is held: {why}")
    if view.state == "enforced":
        seen = "the gateways' own state was read back" if view.proof == "read_back" else "a refusal was seen"
        return Verdict("CONTAINED", f"{seen}{_at(view.enforced_ms)}")
    if view.state == "quiet":
        return Verdict("QUIET", f"silent{_at(view.quiet_ms)}, while others were heard; no refusal was seen")
    if view.state == "failed":
        return Verdict(
            "NOT CONTAINED", "a gateway did not accept it: it may still let this credential through"
        )
    if view.state == "accepted":
        proof = f"the gateways accepted it{_at(view.accepted_ms)}; no request was seen refused since"
        return Verdict("NOT PROVEN", proof)
    return Verdict("NOT YET", f"decided{_at(view.requested_ms)}, not accepted by every gateway")


def print_incident(
    how: Reach,
    view: IncidentView,
    credential: CredentialView,
    timeline: Sequence[dict[str, Any]] | None,
    why_none: str,
) -> None:
    """Write one incident, or its JSON; without a timeline, why there is none."""
    steps = list(_next(view, how.options))
    if how.as_json:
        echo_json(
            {
                "incident": msgspec.to_builtins(view),
                "credential": msgspec.to_builtins(credential),
                "verdict": verdict(view).name,
                "timeline": timeline,
                "next": [command for command, _ in steps],
            }
        )
        return
    now_ms = int(time.time() * 1000)
    contained = verdict(view)
    click.echo(f"{view.incident}  {contained.name}: {plain(contained.proof)}\n")
    if view.summary:
        click.echo(f"{plain(view.summary)}\n")
    at_least = "at least " if view.patients_capped else ""
    practices = f" of {view.tenants:,} practice(s)" if view.tenants else ""
    pairs(
        (
            ("Credential", shown(view)),
            ("Whose", person_of(credential)),
            ("Class", credential.klass + (", PROTECTED" if credential.protected else "")),
            ("Serves", f"{credential.tenants_served:,} practice(s)" if credential.tenants_served else ""),
            ("Refused", _refused(view, now_ms)),
            ("Exposed", f"{at_least}{view.patients:,} patients{practices}"),
            ("Since then", _since(view)),
            ("Approved", ", ".join(f"{one.by} ({one.reason})" for one in view.approvals)),
            ("Found", when(view.detected_ms, now_ms)),
            (
                "Acknowledged",
                _person(view.acknowledged, now_ms) or ("NOBODY YET" if is_unfinished(view) else ""),
            ),
            ("Qualified", _qualified(view, now_ms)),
            ("Closed", f"{view.verdict}, {_person(view.closed, now_ms)}" if view.closed else ""),
            ("Rule", f"{view.rule_title} ({view.level})"),
        )
    )
    _print_timeline(timeline, why_none)
    if steps:
        click.echo("\nWhat to do next")
        for command, why in steps:
            click.echo(f"  # {why}\n  {command}")


def print_credential(
    how: Reach,
    view: CredentialView,
    incidents: Sequence[IncidentView],
    timeline: Sequence[dict[str, Any]] | None,
    why_none: str,
) -> None:
    """Write one credential with its incidents, or its JSON; without a timeline, why there is none."""
    if how.as_json:
        plain_incidents = msgspec.to_builtins(list(incidents))
        echo_json(
            {"credential": msgspec.to_builtins(view), "incidents": plain_incidents, "timeline": timeline}
        )
        return
    now_ms = int(time.time() * 1000)
    click.echo(f"{shown(view)}  {view.status.value.upper()}{f', {view.state}' if view.state else ''}\n")
    exempt = view.exempt_until_ms is not None and view.exempt_until_ms > now_ms
    pairs(
        (
            ("Whose", person_of(view)),
            ("Class", view.klass + (", PROTECTED" if view.protected else "")),
            ("Serves", f"{view.tenants_served:,} practice(s)" if view.tenants_served else ""),
            ("Since", when(view.since_ms, now_ms) if view.version else ""),
            ("Until", when(view.until_ms, now_ms) if view.until_ms is not None else ""),
            ("By", view.by),
            ("Reason", view.reason),
            ("Exempt", f"until {when(view.exempt_until_ms, now_ms)}, by {view.exempt_by}" if exempt else ""),
            ("Incidents", ", ".join(f"{one.incident} ({verdict(one).name})" for one in incidents)),
        )
    )
    _print_timeline(timeline, why_none)


def _next(view: IncidentView, options: str) -> Iterator[tuple[str, str]]:
    """Yield commands, as they can be copied, each with what it is for."""
    credential = named(f"{view.realm}/{view.id}", options)
    incident = f"{view.incident}{options}"
    if is_unfinished(view) and view.acknowledged is None:
        yield f"monitor incidents ack {incident} --reason TEXT", "say that you are on it"
    if view.state == "held":
        if view.held_for == "fuse":
            yield f"monitor fuse status{options}", "see what else is held, and reset the fuse"
        yield (
            f"monitor credentials approve {credential} --reason TEXT",
            f"{view.action or 'refuse'} it after all",
        )
        yield f"monitor incidents dismiss {incident} --reason TEXT", "it is no concern: refuse nobody"
    elif view.status.value != "active":
        if view.state in {"failed", "requested", "accepted"}:
            yield f"monitor credentials show {credential}", "see which gateway was told what, and when"
        if view.status.value == "suspended":
            yield (
                f"monitor credentials revoke {credential} --reason TEXT",
                "it leaked: refuse it until a person ends that",
            )
        yield (
            f"monitor credentials reinstate {credential} --grace 1h --reason TEXT",
            "the owner explained it: let it in again",
        )
    if is_unfinished(view) and view.qualified is None and view.patients:
        yield (
            f"monitor incidents qualify {incident} --as notifiable --reason TEXT",
            "or not-notifiable: the law's clock may start here",
        )
    if is_unfinished(view) and view.state != "held":
        yield (
            f"monitor incidents close {incident} --verdict true_positive --reason TEXT",
            "when all is done (or benign, false_positive, undetermined)",
        )


def _refused(view: IncidentView, now_ms: int) -> str:
    if view.status.value == "active":
        return "no"
    end = when(view.until_ms, now_ms) if view.until_ms is not None else "a person reinstates it"
    return f"{view.status.value} until {end}" + (f", by {view.by}" if view.by and "@" in view.by else "")


def _since(view: IncidentView) -> str:
    if view.state == "held":
        return f"{view.exposed:,} requests answered while it is held"
    return f"{view.leaked:,} requests answered after the decision"


def _qualified(view: IncidentView, now_ms: int) -> str:
    if view.qualified is None:
        return "not yet" if is_unfinished(view) else ""
    return f"{(view.qualified_as or '').replace('_', ' ')}, {_person(view.qualified, now_ms)}"


def _person(person: Person | None, now_ms: int) -> str:
    if person is None:
        return ""
    return f"{person.by}, {when(person.at_ms, now_ms)}" + (f": {person.reason}" if person.reason else "")


def _at(epoch_ms: int | None) -> str:
    return f" at {moment(epoch_ms)}" if epoch_ms is not None else ""


def _print_timeline(timeline: Sequence[dict[str, Any]] | None, why_none: str) -> None:
    if timeline is None:
        click.echo(f"\nThe ledger cannot be read now. {why_none}")
        return
    if not timeline:
        return
    click.echo("\nTimeline (UTC, from the ledger)")
    day = ""
    for entry in timeline:
        at = datetime.fromtimestamp(entry["at_ms"] / 1000, UTC)
        if f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            click.echo(f"  {day}")
        what = f"{entry['kind']} {entry['what']}" if entry.get("what") else str(entry["kind"])
        told = [
            f"{name} {entry[name]}" if name in _LABELLED else str(entry[name])
            for name in _TOLD
            if entry.get(name)
        ]
        line = f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  {plain(what):<18} {plain(', '.join(told))}"
        click.echo(line.rstrip())


#: Fields whose values say nothing without their name.
_LABELLED: Final = frozenset({"attempt", "leaked", "by", "adapter", "proof"})
