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
    options = ["--runs", "1", "--scale", "0.01", "--only", "limit,ours,ours-detect", "--load", "hot"]
    options += ["--kafka", kafka]
    table = run("contest.py", *options, "--json", str(report))
    told = json.loads(report.read_bytes())
    assert told["runs"].keys() == {"limit", "ours", "ours-detect"}
    assert told["load"] == "hot"
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
        assert told[step]["p99.9"] is None, "six probes have none"
    assert told["counted"] > 0


def test_a_load_is_sustained_where_a_second_of_it_waits_at_most_and_not_where_more_does():
    script = (
        "from bench.latency import Look, sustained\n"
        "for taken, lag in ((10_000, 0.0), (8_900, 0.0), (10_000, 2.0)):\n"
        "    told = sustained(Look(0.0, 0, 0.0, 0.0), Look(10.0, 10_000, taken, lag), 1_000.0, 0)\n"
        "    print(told['counted'], told['behind_seconds'], told['sustained'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["1000 0.0 True", "890 1.1 False", "1000 2.0 False"]


def test_blind_time_is_told_of_an_act_and_of_the_neighbours_of_a_hot_credential(kafka: str, tmp_path: Path):
    report = tmp_path / "report.json"
    options = ["--only", "alone-term,hot", "--rate", "50", "--hot-rate", "50", "--hot-seconds", "1"]
    run("blind.py", *options, "--kafka", kafka, "--json", str(report))
    told = json.loads(report.read_bytes())
    (act,) = told["acts"]
    assert act["probes"] >= act["late"] > 0
    assert act["never"] == 0
    # Nobody is found before there is a worker again, and nobody is refused before being found.
    assert 0.5 < act["silent"] <= act["finding"] + 1
    assert len(told["hot"]) == 4
    assert all(0 < one["p50"] <= one["p100"] for one in told["hot"].values())


def test_memory_is_told_of_each_case(tmp_path: Path):
    report = tmp_path / "report.json"
    options = ["--only", "pure", "--subjects", "3000", "--windows", "30", "--seconds", "0.2"]
    run("memory.py", *options, "--json", str(report))
    told = {one["case"]: one for one in json.loads(report.read_bytes())}
    assert told.keys() == {"one", "window", "pack", "flood"}
    assert 0 < told["one"]["rest_bytes"] < told["window"]["rest_bytes"]
    assert told["flood"]["peak_mb"] > 0


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
