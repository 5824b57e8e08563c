"""What must hold of every record, whatever its bytes: an event that is sane, or a clean rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.errors import RejectedRecordError
from monitor.intake.event import MAX_PATIENTS, Event, PartlyRead
from monitor.intake.formats import FORMATS
from tests.formats.samples import NAMES, ROUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = "MARK-4711-MARK"
REASONS = {
    "empty",
    "too_large",
    "not_json",
    "wrong_type",
    "missing",
    "unknown_field",
    "bad_value",
    "internal",
}
DECODERS = {name: FORMATS[name].decoder("r", trust_ids=True, match=ROUTES) for name in NAMES}


def attempt(name: str, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> list[Event]:
    """The events of a record, all of them sane; none where it is rejected without a value of it."""
    events = outcome(name, value, headers)
    if isinstance(events, RejectedRecordError):
        assert events.reason in REASONS
        assert "MARK" not in str(events)
        assert "4711" not in str(events)
        assert events.__context__ is None
        return []
    if isinstance(events, PartlyRead):
        for _, reason, detail in events.refusals:
            assert reason in REASONS - {"internal"}
            assert "MARK" not in detail
    for event in events:
        sane(event)
    return list(events)


def outcome(
    name: str, value: bytes, headers: Sequence[tuple[str, bytes]]
) -> Sequence[Event] | RejectedRecordError:
    try:
        return DECODERS[name](value, headers)
    except RejectedRecordError as error:
        return error


def sane(event: Event) -> None:
    assert type(event) is Event
    assert 946_684_800_000 <= event.time_ms < 253_402_300_800_000
    assert 0 <= event.status <= 999
    for text in (event.tenant, event.method, event.route, event.gateway, event.principal, event.category):
        assert text is None or (text.isprintable() and 0 < len(text) <= 2048)
    assert event.principal is None or event.status != 401
    assert (event.principal is None) == (event.principal_kind is None)
    assert len(event.patients) <= MAX_PATIENTS
    assert all(patient and (tenant is None or tenant.isprintable()) for patient, tenant in event.patients)
    for number in (event.bytes, event.records):
        assert number is None or (type(number) is int and 0 <= number <= 2**53)
    assert repr(event) == "Event(…)"
