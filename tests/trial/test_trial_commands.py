"""`monitor backtest` and `monitor rules tune` as people type them."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from monitor.intake.key_files import write_new_keys
from tests.trial.streams import START_MS, line, stream, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMIT = 50  # patients in 10 minutes, in the rule of the test
RULE = """
title: A patient was read
id: 3c1d0a0c-2f5e-4f0a-8b8f-5a7c0a7d2e99
name: read
status: test
logsource: {product: access-monitor, category: api_access}
detection:
  success: {patient|exists: true}
  condition: success
level: informational
---
title: Many patients
id: 5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c99
status: test
correlation:
  type: value_count
  rules: [read]
  group-by: [principal]
  timespan: 10m
  condition: {field: patient, gte: 50}
level: high
response: {action: suspend, ttl: 24h}
runbook: docs/runbooks.md#many-patients
"""


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rule.yml"
    path.write_text(RULE, encoding="utf-8")
    return str(path)


def burst(count: int = LIMIT, **fields: Any) -> list[bytes]:
    return [line(START_MS + n * 1000, "partner-17", f"patient-{n}", **fields) for n in range(count)]


def findings(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_findings_go_to_stdout_and_the_summary_to_stderr(tmp_path: Path, rules: str):
    path = write(tmp_path / "access.log", burst())
    summary = tmp_path / "summary.json"
    done = run("backtest", "--rules", rules, "--json-summary", str(summary), str(path))
    assert done.returncode == 0, done.stderr
    (finding,) = findings(done)
    assert finding["rule"]["title"] == "Many patients"
    assert finding["revision"] == finding["rule"]["revision"]
    assert (finding["subject"], finding["value"], finding["threshold"]) == (
        "default/partner-17",
        LIMIT,
        LIMIT,
    )
    assert finding["time"] == "2025-06-15T15:07:29.000Z"
    assert finding["event_id"] == f"{path}:{LIMIT}"
    assert finding["window"]["timespan_ms"] == 600_000
    assert "partner-17 read 50 different patients" in finding["summary"]
    said = done.stderr.decode()
    assert "pseudonyms of this run alone" in said
    assert "1 principal subject would have been suspended" in said
    assert "patient-" not in said + done.stdout.decode()
    plain = json.loads(summary.read_text(encoding="utf-8"))
    (hit,) = plain["rules"][0]["subjects"]
    assert (hit["subject"], hit["patients"]) == ("default/partner-17", LIMIT)


def test_stdin_files_and_archives_are_read_alike(tmp_path: Path, rules: str):
    lines = stream(3_000)
    path = write(tmp_path / "plain", lines)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    whole = run("backtest", "--rules", rules, str(path)).stdout
    piped = run("backtest", "--rules", rules, "-", stdin=packed.read_bytes()).stdout
    assert whole.replace(str(path).encode(), b"-") == piped


def test_a_configuration_gives_lives_realm_pseudonyms_and_lateness(tmp_path: Path, rules: str):
    write_new_keys(tmp_path / "monitor.keys")
    config = tmp_path / "monitor.yaml"
    config.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap_servers": ["127.0.0.1:1"]},
                "sources": [{"name": "gate", "topic": "gate", "realm": "hospital"}],
                "privacy": {"key_file": "monitor.keys"},
                "rules": {"paths": [rules]},
            }
        ),
        encoding="utf-8",
    )
    path = write(tmp_path / "log", burst())
    first, again = (run("backtest", "-c", str(config), str(path)) for _ in range(2))
    assert findings(first)[0]["subject"] == "hospital/partner-17"
    assert first.stdout == again.stdout
    assert b"pseudonyms of this run" not in first.stderr
    other = run("backtest", "-c", str(config), "--source", "nobody", str(path))
    assert (other.returncode, b"there is: gate" in other.stderr) == (78, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("backtest", "--rules", "pack:default"), 2, "name files to read"),
        (("backtest", "-"), 2, "--rules is needed"),
        (("backtest", "--rules", "pack:default", "gone.log"), 78, "no such file"),
        (("backtest", "--rules", "pack:default", "--format", "x", "-"), 78, "no format 'x'"),
        (("backtest", "--since", "24h", "--rules", "pack:default", "-"), 2, "for --topic"),
        (("backtest", "--topic", "routed", "file"), 2, "either files or --topic"),
        (("rules", "tune", "--rules", "pack:default", "gone.log"), 78, "no such file"),
    ],
    ids=["no-file", "no-rules", "no-such-file", "format", "since", "both", "tune"],
)
def test_a_wrong_command_is_told_why(arguments: Sequence[str], code: int, words: str):
    done = run(*arguments)
    assert (done.returncode, words in done.stderr.decode()) == (code, True), done.stderr


def test_a_damaged_archive_is_exit_1_with_its_name_and_no_findings(tmp_path: Path, rules: str):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"\n".join(burst(3000)))[:-100])
    done = run("backtest", "--rules", rules, str(path))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cut.gz: the archive is damaged" in done.stderr


def test_ctrl_c_ends_all_processes_at_once(tmp_path: Path, rules: str):
    # Where the tests run in the background of a shell, SIGINT is ignored, and children inherit that.
    heeding = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " runpy.run_module('monitor', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, "backtest", "--rules", rules, "--jobs", "2", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(b"\n".join(burst(2_000)))
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while len(_members(process.pid)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert (out, b"Traceback" in said) == (b"", False)
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _members(process.pid) == []


def _members(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [int(row.split()[0]) for row in found.stdout.splitlines() if not row.split()[1].startswith("Z")]


def test_tune_shows_the_spread_and_whom_each_threshold_finds(tmp_path: Path, rules: str):
    path = write(tmp_path / "log", burst(60) + [line(START_MS + 90_000, f"p{n}", "x") for n in range(9)])
    shown = run("rules", "tune", "--rules", rules, str(path))
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode()
    assert "Many patients (5e5a3d3e): 50 different patients per principal in 10m" in text
    assert "the rule's own" in text
    plain = json.loads(run("rules", "tune", "--json", "--rules", rules, str(path)).stdout)
    assert (plain["subjects"], plain["p50"], plain["max"]) == (10, 1, 60)
    assert {"threshold": 50, "subjects": 1} in plain["thresholds"]
    assert plain["top"][0]["subject"] == "default/partner-17"
