"""Findings of a trial, as they are printed: those of live, with words instead of positions in Kafka."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from monitor.trial.reading import LINE_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.trial.reading import Feed


class Found(NamedTuple):
    """One finding. Sorted, they are in order of their time, then of their event's place.

    `text` is its JSON line; the rest is what the summary needs of it.
    """

    time_ms: int
    feed: int
    position: int
    rule: str
    order: str
    subject: str
    event_id: str
    patients: int
    capped: bool
    text: bytes


def as_found(
    finding: dict[str, Any], feeds: Sequence[Feed], hide_address: Callable[[str], str] | None = None
) -> Found:
    """Return a finding of the core in the form of a trial.

    `event_id` is ``FILE:LINE``, or topic-partition-offset. What depends on how the work was shared out
    (the routed position, the append time) is left out. `hide_address` gives pseudonyms of addresses,
    where a rule compares them and so rows hold them readable.
    """
    group = finding["group"]
    if hide_address is not None and isinstance(group.get("client_ip"), str):
        group["client_ip"] = hide_address(group["client_ip"])
    event = finding["event"]
    feed, position, place = _place(event, feeds)
    del finding["routed"], finding["observed_ms"]
    finding["revision"] = finding["rule"]["revision"]
    finding["time"] = rfc3339(event["time_ms"])
    finding["event_id"] = place
    if feed.base:
        finding["event"] = {
            "file": feed.name,
            "line": position,
            "time_ms": event["time_ms"],
            "route": event["route"],
        }
    return Found(
        event["time_ms"],
        feed.number,
        position,
        finding["rule"]["id"],
        # One event may exceed a rule's limit for several subjects and groups.
        orjson.dumps([finding["axis"], group, finding["straggler"], finding["subject"]]).decode(),
        finding["subject"],
        place,
        finding["patients"],
        finding["patients_capped"],
        orjson.dumps(finding),
    )


def rfc3339(time_ms: int) -> str:
    """Return an epoch time as people and tools read it, to the millisecond."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _place(event: dict[str, Any], feeds: Sequence[Feed]) -> tuple[Feed, int, str]:
    """Return (feed, line or offset in it, its name for people) of a finding's event."""
    offset = event["offset"]
    if feeds[0].base:
        feed = feeds[(offset >> LINE_BITS) - 1]
        line = offset - feed.base
        return feed, line, f"{feed.name}:{line}"
    topic, partition = event["topic"], event["partition"]
    feed = next(feed for feed in feeds if (feed.source.topic, feed.source.partition) == (topic, partition))
    return feed, offset, f"{topic}-{partition}-{offset}"
