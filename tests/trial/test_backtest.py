"""A backtest finds what the detector finds, whatever the number of processes and files."""

from __future__ import annotations

import gc
import gzip
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.detector import Detector
from monitor.core.events import RowsRecord, RulesRecord, SourceId
from monitor.core.rules import AllOf, Match, Rule, RuleSet, rule_set_document
from monitor.core.windows import NEVER
from monitor.errors import MonitorError
from monitor.intake.formats import find_format
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.trial.backtest import backtest_files
from monitor.trial.crew import Processes, Work, without_collection
from monitor.trial.reading import Block
from tests.trial.streams import KEYS, RULES, START_MS, findings, found, line, settled, stream, told, write


def live(lines: list[bytes]) -> list[tuple[Any, ...]]:
    """Return what a detector finds that takes one event at a time, at the time of its log."""
    decode = find_format("canonical", "").decoder("default")
    router = EventRouter(RULES, KEYS, 1, compile_pattern)
    detector = Detector(0, allowed_lateness_ms=3_600_000, compile_pattern=compile_pattern)
    source = SourceId("c", "t", "events", 0)
    clock = 0
    for offset, text in enumerate(lines):
        events = decode(text)
        clock = max(clock, events[0].time_ms)
        if not offset:
            detector.activate(RulesRecord(1, "r", rule_set_document(RULES)), clock)
        rows = [row for _, row in router.route(events, offset)]
        detector.apply(RowsRecord(source, offset, offset, resume=not offset, rows=rows), offset, clock)
    outcome = []
    for finding in detector.take_outcomes().findings:
        event = finding["event"]
        finding["time"] = event["time_ms"]
        outcome.append((event["time_ms"], event["offset"] + 1, *told(finding)[1:]))
    return sorted(outcome)


def in_lines(result: Any) -> list[tuple[Any, ...]]:
    """Return the findings of a backtest of one file in the form of `live`."""
    return sorted(
        (finding["event"]["time_ms"], finding["event"]["line"], *told(finding)[1:])
        for finding in findings(result)
    )


@pytest.mark.parametrize("disorder_ms", [0, 30_000, 200_000])
def test_a_file_gives_what_the_detector_finds_event_by_event(tmp_path: Path, disorder_ms: int):
    lines = stream(4_000, disorder_ms=disorder_ms)
    result = found([write(tmp_path / "log", lines)])
    expected = live(lines)
    assert len(expected) > 20
    # It begins with its first event rounded up to a second: only what is warming may differ.
    assert [entry[:-1] for entry in in_lines(result)] == [entry[:-1] for entry in expected]


def test_the_number_of_processes_changes_nothing(tmp_path: Path):
    lines = stream(6_000, disorder_ms=60_000)
    path = write(tmp_path / "log", lines)
    alone = found([path])
    expected = list(alone.lines())
    assert len(expected) > 50
    for jobs in (2, 3):
        result = found([path], jobs=jobs)
        assert list(result.lines()) == expected
        assert result.tally == alone.tally
        assert result.counters == alone.counters


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_stream_in_order_may_lie_in_any_files(tmp_path: Path, data: st.DataObject):
    lines = stream(600, seed=data.draw(st.integers(0, 1000)))
    count = data.draw(st.integers(2, 5))
    if data.draw(st.booleans()):
        # Rotated.
        cuts = sorted(data.draw(st.integers(0, len(lines))) for _ in range(count - 1))
        parts = [lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    else:
        # Several gateways, in step.
        rng = random.Random(count)
        parts = [[] for _ in range(count)]
        for text in lines:
            parts[rng.randrange(count)].append(text)
    if data.draw(st.booleans()):
        parts.reverse()
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    paths = [write(folder / f"log.{number}", part) for number, part in enumerate(parts)]
    whole = findings(found([write(folder / "whole", lines)]))
    split = findings(found(paths))
    assert [told(finding) for finding in split] == [told(finding) for finding in whole]
    # Each finding still names the line that it hangs on.
    of_path = {str(path): part for path, part in zip(paths, parts, strict=True)}
    for finding, same in zip(split, whole, strict=True):
        event = finding["event"]
        assert of_path[event["file"]][event["line"] - 1] == lines[same["event"]["line"] - 1]
        assert finding["event_id"] == f"{event['file']}:{event['line']}"


def test_several_disordered_files_give_the_same_for_any_number_of_processes(tmp_path: Path):
    paths = [
        write(tmp_path / f"gate-{number}", stream(3_000, seed=number, disorder_ms=40_000))
        for number in range(5)
    ]
    paths.append(write(tmp_path / "later", [line(START_MS + 10**10 + n, "q", f"p{n}") for n in range(50)]))
    expected = list(found(paths).lines())
    assert len(expected) > 50
    assert list(found(paths, jobs=2).lines()) == expected


def test_what_cannot_be_read_is_counted_with_its_line_and_never_shown(tmp_path: Path):
    lines = [
        line(START_MS),
        b"{secret-broken",
        b"",
        line(START_MS + 1, status="secret"),
        line(START_MS + 2, surprise="secret"),
        line(START_MS + 3, None),
        *[b"secret"] * 7,
    ]
    path = write(tmp_path / "log", lines)
    for jobs in (1, 2):
        result = found([path], jobs=jobs)
        assert result.tally.records == len(lines)
        assert result.tally.events == 2
        assert result.tally.anonymous == 1
        assert result.tally.rejected == {"not_json": 8, "empty": 1, "wrong_type": 1, "unknown_field": 1}
        assert result.places("not_json") == [f"{path}:{number}" for number in (2, 7, 8, 9, 10)]
        assert result.places("empty") == [f"{path}:3"]
        assert "secret" not in str(result.plain())


def test_a_clock_far_ahead_does_not_blind_the_rules(tmp_path: Path):
    burst = [line(START_MS + n * 100, "p", f"patient-{n}") for n in range(20)]
    ahead = line(int(time.time() * 1000) + 10**12, "gateway-with-a-wrong-clock")
    result = found([write(tmp_path / "log", [ahead, *burst[:5], ahead, *burst[5:]])])
    assert result.tally.ahead == 2
    assert {finding["rule"]["id"] for finding in findings(result)} == {"events", "patients"}


def test_the_summary_says_who_would_have_been_cut_off_when_and_after_how_many_patients(tmp_path: Path):
    burst = [line(START_MS + n * 1000, "p", f"patient-{n}") for n in range(30)]
    result = found([write(tmp_path / "log", burst)])
    rules = {rule["id"]: rule for rule in result.plain()["rules"]}
    (hit,) = rules["events"]["subjects"]
    assert (hit["subject"], hit["patients"], hit["patients_capped"]) == ("default/p", 12, False)
    assert hit["event_id"].endswith(":12")
    assert rules["readers"]["subjects"] == []
    assert result.plain()["events"] == 30


def test_raw_patients_objects_and_addresses_appear_nowhere(tmp_path: Path):
    rules = RuleSet(
        (
            *RULES.rules,
            Rule(
                "ip",
                "Ip",
                "event_count",
                Match("client_ip", "cidr", "192.0.2.0/24"),
                ("client_ip",),
                60_000,
                2,
            ),
            Rule("both", "Both", "event_count", AllOf(()), ("principal", "client_ip"), 60_000, 2),
            Rule("object", "Object", "event_count", AllOf(()), ("object",), 600_000, 2),
        )
    )
    path = write(tmp_path / "log", stream(3_000))
    result = found([path], rules=rules)
    text = b"".join(result.lines()).decode() + str(result.plain())
    assert {"ip", "both", "object", "readers"} <= {finding["rule"]["id"] for finding in findings(result)}
    for raw in ("patient-", "object-", "192.0.2"):
        assert raw not in text


def test_a_damaged_archive_ends_the_run_also_with_processes(tmp_path: Path):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"\n".join(stream(2_000)))[:-2000])
    for jobs in (1, 2):
        with pytest.raises(MonitorError, match=r"log\.gz"):
            backtest_files(settled(), [path], jobs=jobs)


def test_an_empty_file_finds_nothing(tmp_path: Path):
    for jobs in (1, 2):
        result = found([write(tmp_path / "log", [])], jobs=jobs)
        assert (result.tally.records, list(result.lines())) == (0, [])


def test_a_process_that_is_killed_ends_the_run_with_words(tmp_path: Path):
    reading = settled().reading([write(tmp_path / "log", [])])
    crew = Processes(Work(reading, (NEVER,), 3_600_000), 2)
    try:
        crew._processes[0].kill()
        crew._processes[0].join()
        with pytest.raises(MonitorError, match=r"ended early \(exit codes -9\)"):  # noqa: PT012
            while True:
                crew.put(Block(0, 1, line(START_MS)))
                crew.reports(wait=True)
    finally:
        crew.close()


def test_a_process_that_fails_says_what_and_never_with_data(tmp_path: Path):
    reading = settled().reading([write(tmp_path / "log", [])])
    crew = Processes(Work(reading, (NEVER,), 3_600_000), 2)
    try:
        with pytest.raises(MonitorError, match="failed") as caught:  # noqa: PT012 - it fails when it likes
            crew.put(Block(7, 1, b"secret"))  # there is no such feed
            while True:
                crew.reports(wait=True)
        assert "IndexError" in str(caught.value)
        assert "secret" not in str(caught.value)
    finally:
        crew.close()


def test_memory_needs_no_collection(tmp_path: Path):
    lines = [*stream(2_000, disorder_ms=60_000), *[b"{broken", b"", line(START_MS, status="x")] * 300]
    path = write(tmp_path / "log", lines)
    found([path])
    gc.collect()
    with without_collection():
        result = found([path])
        assert not gc.isenabled()
        assert gc.collect() < 500  # a cycle per event would be thousands
    assert gc.isenabled()
    assert result.findings > 10
