"""Measure how much a format costs beside reading its JSON at all.

For each format, in the same breath and on the same bytes: a bare `orjson.loads`, and our decoder, from
bytes to an event. The ratio is what counts; the rates are of one core of this machine.

    bench/formats.py [--seconds 0.5] [FORMAT…]
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from monitor.intake.formats import FORMATS
from monitor.intake.routes import Matcher, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIXTURES = Path(__file__).parents[1] / "tests" / "formats" / "fixtures"
ROUTES = FIXTURES / "routes.yaml"
_ROUNDS = 7


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each format and round")
    parser.add_argument("formats", nargs="*")
    arguments = parser.parse_args()
    match = Matcher(read_routes([ROUTES]))
    gc.freeze()
    print(f"{'format':22} {'bytes':>6} {'events/s':>10} {'orjson/s':>10} {'ratio':>6} {'with routes':>12}")
    for path in sorted(FIXTURES.glob("*.jsonl")):
        name = path.stem
        if arguments.formats and name not in arguments.formats:
            continue
        lines = [line for line in path.read_bytes().splitlines() if line]
        form = FORMATS[name]
        plain, routed = form.decoder("bench"), form.decoder("bench", match=match)
        events = sum(len(plain(line)) for line in lines) / len(lines)
        seconds = arguments.seconds / _ROUNDS
        rounds = [
            (_rate(orjson.loads, lines, seconds), _rate(plain, lines, seconds), _rate(routed, lines, seconds))
            for _ in range(_ROUNDS)
        ]
        ratios = sorted(bare / ours for bare, ours, _ in rounds)
        with_routes = sorted(bare / ours for bare, _, ours in rounds)
        middle = _ROUNDS // 2
        size = sum(map(len, lines)) // len(lines)
        best = max(ours for _, ours, _ in rounds) * events
        print(
            f"{name:22} {size:6} {best:10,.0f} {max(bare for bare, _, _ in rounds):10,.0f}"
            f" {ratios[middle]:6.2f} {with_routes[middle]:12.2f}"
        )


def _rate(work: Callable[[bytes], object], lines: Sequence[bytes], seconds: float) -> float:
    """Return how many records a second are worked on."""
    done = 0
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        for line in lines:
            work(line)
        done += len(lines)
    return done / spent


if __name__ == "__main__":
    main()
