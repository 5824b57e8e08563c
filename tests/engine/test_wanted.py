"""The rows that evidence is gathered from: native code finds those that Python finds, and says the same of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.events import (
    AXIS,
    CATEGORY,
    KIND,
    OFFSET,
    PATIENTS,
    ROUTE,
    STATUS,
    SUBJECT,
    TENANT,
    TIME,
    RulesRecord,
)
from monitor.core.evidence import Evidence
from monitor.engine.wanted import WantedRows
from monitor.errors import InvariantError
from monitor.wire import routed
from monitor.wire.evidence import CHUNK_BYTES, decode_evidence, encode_evidence
from tests.core.samples import EVENTS, event, status_row
from tests.rig.native import native

APPEND_MS = 1_000
WANTED = [("principal", "gw/p"), ("principal", "gw/é"), ("patient", "p1")]

texts = st.text(max_size=6)
maybe = st.one_of(st.none(), texts)
odd = st.one_of(
    maybe, st.integers(-(2**63), 2**64 - 1), st.booleans(), st.floats(150, 350), st.lists(maybe, max_size=2)
)


@st.composite
def rows(draw: st.DrawFn) -> list[Any]:
    """Return a row that is evidence of a wanted subject, or nearly so, with any text and sometimes anything."""
    axis, subject = draw(st.sampled_from([*WANTED, ("patient", "gw/p"), ("principal", "other")]))
    time_ms = draw(st.sampled_from((APPEND_MS - 5, APPEND_MS, APPEND_MS + 5)))
    if draw(st.integers(0, 5)) == 0:
        return list(status_row(7, time_ms, 1, "suspended"))
    row = list(
        event(
            draw(st.integers(0, 2**63 - 1)),
            time_ms,
            axis=axis,
            subject=subject,
            patients=draw(st.lists(st.tuples(texts, maybe), max_size=3)),
            status=draw(st.sampled_from((199, 200, 299, 300, 404))),
            route=draw(texts),
            tenant=draw(maybe),
            category=draw(maybe),
        )
    )
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        column = draw(
            st.sampled_from((OFFSET, KIND, AXIS, SUBJECT, TIME, PATIENTS, TENANT, ROUTE, STATUS, CATEGORY))
        )
        row[column] = draw(odd)
    return row[: draw(st.sampled_from((len(row), len(row), len(row), 3, CATEGORY)))]


def told(value: bytes, *, pure: bool) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        if pure:
            patch.setattr(engine, "store", None)
        return sorted(WantedRows(WANTED).of(value, "here", APPEND_MS))


@settings(max_examples=600)
@given(st.lists(rows(), max_size=6))
def test_native_code_finds_what_python_finds(several: list[Any]) -> None:
    native(engine.store)
    value = routed.encode_rows(EVENTS, 0, 9, several, resume=True)
    assert told(value, pure=False) == told(value, pure=True)


@pytest.mark.parametrize("pure", [True, False])
def test_only_successes_of_who_is_wanted_are_evidence(*, pure: bool) -> None:
    several = [
        event(1, APPEND_MS - 1, patients=[("ann", None), ("bob", "t2")], tenant="t1", category="documents"),
        event(2, APPEND_MS + 9, patients=[("ann", None)]),
        event(3, APPEND_MS, patients=[("ann", None)], status=403),
        event(4, APPEND_MS, patients=[]),
        event(5, APPEND_MS, patients=[("ann", None)], principal="other"),
        event(6, APPEND_MS, patients=[("ann", None)], axis="route"),
        status_row(7, APPEND_MS, 1, "suspended"),
        event(8, APPEND_MS, patients=[("ann", None)], axis="patient", subject="p1"),
    ]
    value = routed.encode_rows(EVENTS, 0, 9, several, resume=True)
    assert [
        (number, time, json.loads(row), source) for number, time, row, source in told(value, pure=pure)
    ] == [
        (0, 999, [1, 999, "/a", [["ann", "t1", "documents"], ["bob", "t2", "documents"]]], EVENTS),
        (0, 1_000, [2, 1_000, "/a", [["ann", None, None]]], EVENTS),
        (2, 1_000, [8, 1_000, "/a", [["ann", None, None]]], EVENTS),
    ]


@pytest.mark.parametrize("pure", [True, False])
def test_rows_with_the_names_of_another_key_are_read_too(*, pure: bool) -> None:
    several = [event(1, APPEND_MS, patients=[("ann", None)])]
    value = routed.encode_rows(EVENTS, 0, 9, several, resume=True, former={"ann": ["eve"]})
    assert [row for _, _, row, _ in told(value, pure=pure)] == [b'[1,1000,"/a",[["ann",null,null]]]']


@pytest.mark.parametrize("pure", [True, False])
def test_a_rule_set_holds_no_rows_and_what_is_not_ours_ends_the_reading(*, pure: bool) -> None:
    subject = {"title": "gw/p"}
    assert told(routed.encode_rules(RulesRecord(1, "r", subject)), pure=pure) == []
    cut = routed.encode_rows(EVENTS, 0, 9, [event(1, APPEND_MS)], resume=True)[:-1]
    broken = routed.encode_rows(
        EVENTS, 0, 9, [event(1, APPEND_MS, patients=[("\u20ac", None)])], resume=True
    ).replace("\u20ac".encode(), b"\xed\xa0\x80")
    for value in (cut, broken, b"gw/p"):
        with pytest.raises(InvariantError, match="here"):
            told(value, pure=pure)


@given(st.lists(st.tuples(st.sampled_from("fg"), st.integers(1, 3_000)), max_size=12), st.booleans())
def test_records_of_evidence_are_bounded_and_hold_every_row_in_order(
    several: list[tuple[str, int]], packed: bool
) -> None:
    entries: list[Any] = [
        Evidence(finding, "principal", "gw/p", n, "/a", many * [("p" * 24, None, "x")], 5, EVENTS)
        for n, (finding, many) in enumerate(several)
    ]
    if packed:
        entries = [
            (*entry[:3], msgspec.json.encode([entry.offset, 5, "/a", entry.patients]), EVENTS)
            for entry in entries
        ]
    held: dict[str, list[int]] = {}
    for key, value in encode_evidence(entries, "later"):
        record = decode_evidence(value, "here")
        assert key.decode() == record.finding
        assert len(record.rows) == 1 or len(value) < CHUNK_BYTES + 1_000
        held.setdefault(record.finding, []).extend(row[0] for row in record.rows)
    assert held == {
        name: [n for n, (finding, _) in enumerate(several) if finding == name]
        for name in {finding for finding, _ in several}
    }
