"""Sentences for people."""

from __future__ import annotations

import pytest

from monitor.core.sentences import duration, summary
from tests.core.samples import rule


@pytest.mark.parametrize(
    ("span_ms", "expected"),
    [
        (0, "less than 1 s"),
        (999, "less than 1 s"),
        (1_000, "1 s"),
        (60_000, "1 min"),
        (252_900, "4 min 12 s"),
        (3_600_000, "1 h"),
        (3_601_000, "1 h"),
        (90_000_000, "1 d 1 h"),
        (30 * 86_400_000, "30 d"),
    ],
)
def test_durations_have_at_most_two_units(span_ms: int, expected: str) -> None:
    assert duration(span_ms) == expected


@pytest.mark.parametrize(
    ("counted", "group_by", "subject", "expected"),
    [
        (
            "patient",
            ("principal",),
            "gw/partner-17",
            "partner-17 read 200 different patients of 31 practices in 4 min 12 s; its limit is 200 in 10 min",
        ),
        (None, ("principal",), "gw/a/b", "a/b made 200 requests in 4 min 12 s; its limit is 200 in 10 min"),
        (
            "object",
            ("principal",),
            "gw/p",
            "p read 200 different records in 4 min 12 s; its limit is 200 in 10 min",
        ),
        (
            "client_ip",
            ("principal",),
            "gw/p",
            "p made requests with 200 different network addresses in 4 min 12 s; its limit is 200 in 10 min",
        ),
        (
            "principal",
            ("patient",),
            "PSEUDONYM",
            "One patient's records were read by 200 different credentials in 4 min 12 s; the limit is 200 in 10 min",
        ),
        (
            None,
            ("patient", "route"),
            "PSEUDONYM",
            "One patient's records were read 200 times in 4 min 12 s (within one route); the limit is 200 in 10 min",
        ),
        (
            "principal",
            ("client_ip",),
            "192.0.2.1",
            (
                "One network address had requests with 200 different credentials in 4 min 12 s;"
                " the limit is 200 in 10 min"
            ),
        ),
    ],
)
def test_a_summary_says_what_happened(
    counted: str | None, group_by: tuple[str, ...], subject: str, expected: str
) -> None:
    one = rule(counted=counted, group_by=group_by, timespan_ms=600_000, threshold=200)
    assert summary(one, subject, 200, 252_000, 31, more=False) == expected


def test_a_summary_says_at_least_where_patients_were_forgotten() -> None:
    one = rule(counted="patient", timespan_ms=600_000, threshold=2000)
    assert "of at least 31 practices" in summary(one, "gw/p", 2000, 252_000, 31, more=True)
