"""Streams of canonical events for tests of trials, and rules small enough to be met often."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.core.rules import AllOf, Match, Rule, RuleSet
from monitor.intake.keys import new_keys
from monitor.trial.backtest import Settled, backtest_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from monitor.trial.backtest import Backtest

START_MS: Final = 1_750_000_000_000
SUCCESS: Final = AllOf((Match("status", "gte", 200), Match("status", "lt", 300)))
KEYS: Final = new_keys()
RULES: Final = RuleSet(
    (
        Rule("events", "Events", "event_count", AllOf(()), ("principal",), 20_000, 12, action="suspend"),
        Rule("patients", "Patients", "value_count", SUCCESS, ("principal",), 60_000, 8, "patient"),
        Rule("readers", "Readers", "value_count", SUCCESS, ("patient",), 60_000, 4, "principal"),
        Rule("records", "Records", "value_sum", SUCCESS, ("principal", "tenant"), 60_000, 90, "records"),
    )
)


def line(time_ms: int, principal: str | None = "p", patient: str | None = None, **fields: Any) -> bytes:
    """Return one event as a line, without its line break."""
    event = {
        "time": time_ms,
        "principal": principal,
        "authenticated": principal is not None,
        "status": 200,
        "patient": patient,
        **fields,
    }
    return orjson.dumps({name: value for name, value in event.items() if value is not None})


def stream(count: int, *, seed: int = 1, disorder_ms: int = 0, step_ms: int = 300) -> list[bytes]:
    """Return events of a few credentials and patients; without disorder no two have one time."""
    rng = random.Random(seed)
    at = START_MS
    lines = []
    for _ in range(count):
        at += 1 + rng.randrange(step_ms)
        if rng.random() < 0.002:
            at += 300_000  # a silence longer than any window
        back = rng.randrange(disorder_ms) if disorder_ms and rng.random() < 0.2 else 0
        lines.append(
            line(
                at - back,
                f"p{int(rng.random() ** 2 * 12)}",
                f"patient-{rng.randrange(40)}",
                tenant=f"t{rng.randrange(3)}",
                records=rng.randrange(1, 20),
                status=rng.choice((200, 200, 200, 404)),
                object=f"object-{rng.randrange(1000)}",
                client_ip=f"192.0.2.{rng.randrange(200)}",
            )
        )
    return lines


def write(path: Path, lines: Iterable[bytes]) -> Path:
    """Write lines as a file and return its path."""
    path.write_bytes(b"".join(one + b"\n" for one in lines))
    return path


def settled(rules: RuleSet = RULES, **changes: Any) -> Settled:
    """Return what is the same for all tests: rules, and keys of this test run."""
    return Settled(rules, KEYS, **changes)


def found(paths: Sequence[Path], *, jobs: int = 1, rules: RuleSet = RULES) -> Backtest:
    """Return what a backtest of files finds."""
    return backtest_files(settled(rules), paths, jobs=jobs)


def findings(result: Backtest) -> list[dict[str, Any]]:
    """Return the findings, read from the lines that are printed."""
    return [orjson.loads(text) for text in result.lines()]


def told(finding: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a finding says, wherever its event stood."""
    window = finding["window"]
    return (
        finding["time"],
        finding["rule"]["id"],
        finding["subject"],
        tuple(finding["group"].items()),
        finding["value"],
        window["from_ms"],
        window["to_ms"],
        finding["patients"],
        finding["tenants"],
        finding["straggler"],
        finding["warming"],
    )
