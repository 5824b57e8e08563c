"""The benchmarks run and tell what they promise; what the figures are is not asserted here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / script, *arguments],
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_contest_tells_rates_and_ratios(kafka: str, tmp_path: Path):
    report = tmp_path / "report.json"
    options = ["--runs", "1", "--scale", "0.01", "--only", "limit,ours", "--kafka", kafka]
    table = run("contest.py", *options, "--json", str(report))
    told = json.loads(report.read_bytes())
    assert told["runs"].keys() == {"limit", "ours"}
    for (measured,) in told["runs"].values():
        assert measured["events"] > 0
        assert measured["seconds"] > 0
        assert measured["rss_mb"] > 0
    assert "default pack" in table


def test_the_latency_of_each_step_is_told_and_no_probe_is_missed(kafka: str, tmp_path: Path):
    report = tmp_path / "report.json"
    options = ["--rates", "50", "--seconds", "2", "--probes", "3", "--kafka", kafka]
    run("latency.py", *options, "--json", str(report))
    (told,) = json.loads(report.read_bytes()).values()
    assert told["probes"] == 6
    for step in ("finding", "webhook", "refused"):
        assert told[step]["missing"] == 0
        assert 0 < told[step]["p50"] <= told[step]["p100"]


def test_the_capacity_sheet_has_bytes_of_each_topic():
    told = run("capacity.py", "200")
    sizes = [int(size.replace(",", "")) for size in re.findall(r"([\d,]+) B of state", told)]
    one, busy = sizes[0], sizes[1]
    assert 0 < one < busy
    assert len(re.findall(r"^routed, .* bytes/event", told, re.MULTILINE)) == 3


def test_growth_tells_each_case_and_finds_the_same_again(tmp_path: Path):
    tables = [tmp_path / "one.json", tmp_path / "two.json"]
    for table in tables:
        run("growth.py", "4000", "--runs", "1", "--json", str(table))
    first, second = (json.loads(table.read_bytes()) for table in tables)
    assert len(first) == 10
    assert [(one["case"], one["hash"]) for one in first] == [(one["case"], one["hash"]) for one in second]
