"""`make faults`: every row of the fault table, each with several seeds; a table and a JSON file at the end.

A run is a process of its own. The same row and seed give the same schedule of faults again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.faults import rows
from tests.faults.crew import ROOT
from tests.rig import broker

RUN_SECONDS: Final = 500.0


def main() -> int:
    """Do the runs; return 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=4, help="runs of each row (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run (default: 1)")
    parser.add_argument("--rows", default="", help="rows, such as 1,2,14 (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "faults.json", help="where results go")
    asked = parser.parse_args()
    wanted = [int(row) for row in asked.rows.split(",") if row] or list(rows.ROWS)
    reason = broker.why_not()
    if reason:
        print(f"real Kafka: {reason}", file=sys.stderr)
        return 1
    server = broker.start(os.getpid())
    folder = Path(tempfile.mkdtemp(prefix="access-monitor-faults-"))
    results: list[dict[str, Any]] = []
    plans = [(row, asked.seed + number) for number in range(asked.runs) for row in wanted]
    with ThreadPoolExecutor(asked.jobs) as pool:
        for result in pool.map(lambda plan: run(plan[0], plan[1], folder, server), plans):
            results.append(result)
            print(line(result), flush=True)
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(results))
    wrong = any(result["violations"] for result in results)
    if wrong:
        print(f"logs and records of the runs that went wrong: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return int(wrong)


def run(row: int, seed: int, folder: Path, server: str) -> dict[str, Any]:
    """Do one run; what it left is kept where something did not hold."""
    place = folder / f"row{row}-seed{seed}"
    place.mkdir()
    began = time.time()
    failed = {"plan": {"row": row, "seed": seed}, "faults": 0, "seen": {}, "ends": [], "catch_up_seconds": -1}
    try:
        result = _result(row, seed, place, server)
    except subprocess.TimeoutExpired:
        result = {**failed, "violations": [f"F the run did not end within {RUN_SECONDS:.0f} s"]}
    except ValueError as error:
        result = {**failed, "violations": [f"the rig failed: {error}"]}
    result["began"], result["commit"] = round(began), commit()
    result["seconds"] = round(time.time() - began, 1)
    if not result["violations"]:
        shutil.rmtree(place)
    return result


def _result(row: int, seed: int, place: Path, server: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.world", str(row), str(seed), str(place), server],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if not done.stdout:
        raise ValueError(done.stderr[-800:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def commit() -> str:
    """Return what was run, as git names it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, check=False
    )
    return done.stdout.decode().strip()


def line(result: dict[str, Any]) -> str:
    """Return what a run did, for who watches."""
    plan = result["plan"]
    own = sum(" itself " in end for end in result["ends"])
    text = (
        f"row {plan['row']:2} seed {plan['seed']:3}: {result['faults']:2} faults,"
        f" {result['seen'].get('rows', 0)} rows, {result['seen'].get('findings', 0)} findings,"
        f" {own} ends of its own, {result['seen'].get('rejoins', 0)} rejoins, caught up in {result['catch_up_seconds']} s, {result['seconds']} s"
    )
    return "\n".join([text, *(f"    WRONG {violation[:400]}" for violation in result["violations"])])


def table(results: list[dict[str, Any]]) -> str:
    """Return what the runs of each row did, in Markdown."""
    lines = [
        "| # | Fault | Runs | Faults | Rows of events | Findings | Revocations | Violations | Caught up, at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (*sorted({result["plan"]["row"] for result in results}), 0):
        own = [result for result in results if row in {0, result["plan"]["row"]}]
        seen = {
            name: sum(result["seen"].get(name, 0) for result in own)
            for name in ("rows", "findings", "revocations")
        }
        lines.append(
            f"| {row or ''} | {rows.NAMES.get(row, 'all')} | {len(own)}"
            f" | {sum(result['faults'] for result in own)} | {seen['rows']:,} | {seen['findings']:,}"
            f" | {seen['revocations']:,} | {sum(len(result['violations']) for result in own)}"
            f" | {max(result['catch_up_seconds'] for result in own):.0f} s |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
