"""Stories about when events happen, when they arrive, and what a window holds."""

from __future__ import annotations

from tests.scenarios.telling import (
    ANY,
    DAY,
    HOUR,
    MINUTE,
    READ,
    Line,
    Story,
    base,
    delivered,
    found,
    many,
    read,
    reads,
    request,
)

FAST = "50 patients in a minute"
TEN = "30 patients in ten minutes"


def _interleaved(*lanes: list[Line]) -> list[Line]:
    return [line for group in zip(*lanes, strict=True) for line in group]


STORIES = [
    Story(
        "slow_scraper",
        "One new patient every ten minutes, day and night: no rule of minutes or hours can see it.\n"
        "The thousandth patient of the week is one too many for the rule of 30 days.",
        [
            READ,
            many("200 patients in ten minutes", 200, "10m"),
            many("1,000 patients in 30 days", 1000, "30d"),
        ],
        reads(1_005, 0, 10 * MINUTE),
        [found("1,000 patients in 30 days", 999 * 10 * MINUTE, 1000, 1000)],
    ),
    Story(
        "burst_at_a_window_border",
        "50 reads in 50 seconds, half before a full minute and half after: windows that tumble see\n"
        "25 and 25. A window lies behind each event, without its begin: of partner-2's 50 the first is\n"
        "exactly a minute old, so 49 count; partner-3's is a millisecond younger.",
        [READ, many(FAST, 50, "1m")],
        [
            *reads(50, 35, 1),
            *reads(49, 200, 1, "partner-2"),
            read(260, 49, "partner-2"),
            *reads(49, 400.001, 1, "partner-3"),
            read(460, 49, "partner-3"),
        ],
        [
            found(FAST, 84, 50, 50),
            found(FAST, 460, 50, 50, subject="r/partner-3"),
        ],
    ),
    Story(
        "clock_skew",
        "Two gateways serve one credential, and the clock of one is 30 s behind. Together they read 40\n"
        "patients within a minute of event time; the 40th event to come is not the latest by its time.",
        [READ, many("40 patients in a minute", 40, "1m")],
        _interleaved(
            reads(20, 30, 1),
            [delivered(30 + second, read(second, 100 + second)) for second in range(20)],
        ),
        [found("40 patients in a minute", 49, 40, 40)],
    ),
    Story(
        "late_batch",
        "A gateway was cut off for a while: its buffer of 30 reads comes when newer reads of the same\n"
        "credential were counted already. They are a burst of their own, found as a straggler. The newer\n"
        "10 patients were read since its window began too, so the finding speaks of 40.",
        [READ, many("30 patients in a minute", 30, "1m")],
        [
            *reads(10, 10 * MINUTE, 5, first=100),
            *(delivered(11 * MINUTE, event) for event in reads(30, 2 * MINUTE, 1)),
        ],
        [found("30 patients in a minute", 2 * MINUTE + 29, 30, 40, straggler=True)],
    ),
    Story(
        "too_late",
        "The same burst of two gateways: one's comes an hour later and is judged, one's a day later. That\n"
        "is behind the allowed lateness of an hour, and no rule looks back so far: it is counted as too\n"
        "late and judged by nobody.",
        [READ, many(TEN, 30, "10m")],
        [
            *(delivered(HOUR, event) for event in reads(30, 0, 1)),
            *(delivered(DAY, event) for event in reads(30, 0, 1, "partner-2")),
        ],
        [found(TEN, 29, 30, 30)],
    ),
    Story(
        "logs_20_minutes_late",
        "All logs of one gateway come 20 minutes after the fact, in order. The attack in them is found as\n"
        "if it came in time; it is no straggler, because nothing newer of that credential was counted.",
        [READ, many(TEN, 30, "10m")],
        [delivered(20 * MINUTE + 2 * second, read(2 * second, second)) for second in range(35)],
        [found(TEN, 58, 30, 30)],
    ),
    Story(
        "gateway_an_hour_ahead",
        "The clock of one gateway is an hour ahead. Its events count as of when Kafka got them: they must\n"
        "not push the window away from the honest gateway's events of the same minute.",
        [READ, many(TEN, 30, "10m")],
        _interleaved(
            reads(15, 0, 10),
            [delivered(10 * number + 5, read(HOUR + 10 * number, 100 + number)) for number in range(15)],
        ),
        [found(TEN, 145, 30, 30)],
    ),
    Story(
        "at_the_limit_for_hours",
        "19 patients in any ten minutes, for two hours, where 20 are too many: nothing is found, however\n"
        "long it lasts. partner-2 is a millisecond faster from one read to the next, which makes it 20.",
        [READ, many("20 patients in ten minutes", 20, "10m")],
        sorted(
            [*reads(230, 0, 31.579), *reads(230, 0, 31.578, "partner-2")],
            key=lambda event: event["time"],
        ),
        [found("20 patients in ten minutes", round(19 * 31.578, 3), 20, 20, subject="r/partner-2")],
    ),
    Story(
        "burst_pause_burst",
        "A rule that holds tells it once, however long the attack goes on. After a pause longer than its\n"
        "timespan a new attack is a new finding. A pause of exactly the timespan is none.",
        [READ, many("5 patients in a minute", 5, "1m")],
        [
            *reads(100, 0, 5),  # holds from 20 s on, at each event up to 495 s
            *reads(5, 551, 1, first=200),  # the fifth at 555 s, 60 s after
            *reads(5, 700, 1, first=300),
        ],
        [
            found("5 patients in a minute", 20, 5, 5),
            found("5 patients in a minute", 704, 5, 5),
        ],
    ),
    Story(
        "same_patients_again",
        "A practice opens the same 29 patients again and again: 29 different ones, not 300. A patient who\n"
        "was read again counts as of the last time: at 12 minutes the 30th makes 30.",
        [READ, many(TEN, 30, "10m")],
        [
            *(read(2 * number, number % 29) for number in range(300)),
            read(605, 99),
        ],
        [found(TEN, 605, 30, 30)],
    ),
    Story(
        "same_request_id_every_time",
        "A client sends the same X-Request-Id with each request, and the gateway passes it on as the id.\n"
        "Nobody vouches for ids here, so each request counts.",
        [ANY, many("100 requests in a minute", 100, "1m", of=None, rules=("any",))],
        [request(0.5 * number, id="always-the-same") for number in range(110)],
        [found("100 requests in a minute", 49.5, 100, 0)],
    ),
    Story(
        "delivered_twice",
        "A shipper that starts again delivers each event twice. The gateway makes the ids and somebody\n"
        "vouches for it, so each counts once: 60 requests, not 120. The 100th different one is found.",
        [ANY, many("100 requests in ten minutes", 100, "10m", of=None, rules=("any",))],
        [
            {"options": {"event_ids": "gateway"}},
            *(request(number, id=f"request-{number}") for number in range(60)),
            *(delivered(61, request(number, id=f"request-{number}")) for number in range(60)),
            *(request(100 + number, id=f"request-{100 + number}") for number in range(41)),
        ],
        [found("100 requests in ten minutes", 139, 100, 0)],
    ),
    Story(
        "records_summed",
        "Few requests, each with many records: 20 searches with 60 records each are 1,200.",
        [
            base("A search", "search", one={"route": "/patients/_search"}),
            many("1,000 records in an hour", 1000, "1h", of="records", kind="value_sum", rules=("search",)),
        ],
        [
            *(request(60 * number, route="/patients/_search", records=60) for number in range(20)),
            *(request(60 * number + 1, route="/appointments", records=900) for number in range(20)),
        ],
        [found("1,000 records in an hour", 16 * MINUTE, 1000, 0)],
    ),
]
