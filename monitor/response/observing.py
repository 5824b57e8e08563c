"""What follows from what detect saw of a credential after a finding; pure, as `lifecycle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.response.lifecycle import of
from monitor.response.states import Decision, Step, changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.wire.credentials import CredentialRecord


def on_observation(current: CredentialRecord | None, seen: Mapping[str, Any], now_ms: int) -> Step:
    """Return what follows from what detect saw: a refusal, a leak, silence, or whom a held one still reads."""
    if current is None or seen["status_version"] != current.version:
        return Step()  # it is about an earlier version
    counted = {
        "leaked": max(current.leaked, seen["leaked"]),
        "patients": max(current.patients, seen["patients"]),
        "patients_capped": current.patients_capped or seen["patients_capped"],
    }
    match seen["what"]:
        case "refused":
            return _refused(current, seen, counted, now_ms)
        case "quiet":
            return _quiet(current, seen, counted, now_ms)
        case "exposed":
            return _exposed(current, seen, counted)
        case _:
            return _leaked(current, seen, counted)


def _refused(
    current: CredentialRecord, seen: Mapping[str, Any], counted: Mapping[str, Any], now_ms: int
) -> Step:
    if not current.refused or current.proof == "refused":
        return Step()
    at_ms = current.enforced_ms if current.enforced_ms is not None else now_ms
    record = changed(current, state="enforced", enforced_ms=at_ms, proof="refused", **counted)
    details = {**of(record), "proof": "refused", "refused_ms": seen["time_ms"], "leaked": record.leaked}
    return Step([Decision("enforced", details)], record)


def _leaked(current: CredentialRecord, seen: Mapping[str, Any], counted: Mapping[str, Any]) -> Step:
    if not current.refused or seen["leaked"] <= current.leaked:
        return Step()
    # It was quiet, and is not: what is known is again only that the gateway took it.
    state = current.state if current.state != "quiet" else "accepted"
    record = changed(current, state=state, **counted)
    return Step([Decision("leaked", {**of(record), "leaked": record.leaked})], record)


def _quiet(
    current: CredentialRecord, seen: Mapping[str, Any], counted: Mapping[str, Any], now_ms: int
) -> Step:
    if current.state not in {"requested", "accepted", "failed"}:
        return Step()
    record = changed(current, state="quiet", quiet_ms=now_ms, **counted)
    return Step([Decision("quiet", {**of(record), "heard_ms": seen["time_ms"]})], record)


def _exposed(current: CredentialRecord, seen: Mapping[str, Any], counted: Mapping[str, Any]) -> Step:
    """Note whom a credential still reads while its response is held; each doubling is a page."""
    if current.state != "held" or seen["exposed"] <= current.exposed:
        return Step()
    record = changed(current, exposed=seen["exposed"], **counted)
    page = record.patients >= 2 * max(current.paged, 1) or current.paged == 0
    if page:
        record = changed(record, paged=max(record.patients, 1))
    details = {
        **of(record),
        "exposed": record.exposed,
        "patients": record.patients,
        "page": page,
        "summary": held_sentence(record),
    }
    return Step([Decision("exposed", details)], record)


def held_sentence(record: CredentialRecord) -> str:
    """Return what a page says of what is held, with the command that ends it."""
    more = " or more" if record.patients_capped else ""
    return (
        f"{record.incident} is held ({record.held}): the credential has read {record.patients}{more} patients"
        f" since the finding's first event, {record.exposed} requests since it was found. Approve:"
        f" monitor credentials approve {record.incident} --reason …"
    )


def on_gap(gap: Mapping[str, Any]) -> Step:
    """Return the note that records were deleted before they were read: nobody counted them."""
    about = {name: gap[name] for name in ("group", "topic", "topic_id", "partition", "first", "last")}
    return Step([Decision("gap", about)])
