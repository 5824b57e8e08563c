"""Makes small mistakes in the core, one at a time, and tells which of them no test notices.

Run by hand: ``make mutants ARGS="--limit 100"``. Each mistake is an edit of a few characters in the text
of a module, found in its syntax tree. A survivor is a hole in the tests, or changes nothing that matters.
"""

from __future__ import annotations

import argparse
import ast
import json
import queue
import random
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.mutants.copies import copied, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CORE = "tests/core"
SLOW = ("tests/core/test_detector_exact.py",)
LAST = ("tests/scenarios/test_scenarios.py",)
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
OTHERS = {"+": "-", "-": "+", "+=": "-=", "-=": "+=", "and": "or", "or": "and"}
#: A lot of tests that takes this many times as long as with the right code has failed.
TOO_SLOW, LEAST_S = 3.0, 15.0


@dataclass(frozen=True)
class Edit:
    """One mistake: bytes of a file to replace."""

    file: str
    line: int
    start: int
    old: str
    new: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old} -> {self.new or 'nothing'}    [{self.text}]"

    def applied(self, source: bytes) -> bytes:
        """Return the wrong source."""
        end = self.start + len(self.old.encode())
        return source[: self.start] + self.new.encode() + source[end:]


class Mistakes(ast.NodeVisitor):
    """Gathers the edits of one module; passes over what only tools and people read."""

    def __init__(self, file: str, source: bytes) -> None:
        self.found: list[Edit] = []
        self._file, self._source = file, source
        self._lines = source.split(b"\n")
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line) + 1)
        self._starts = starts
        self.visit(ast.parse(source))

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    def _edit(self, start: int, old: str, new: str) -> None:
        line = self._source.count(b"\n", 0, start) + 1
        text = self._lines[line - 1].decode().strip()
        edit = Edit(self._file, line, start, old, new, text)
        try:
            compile(edit.applied(self._source), self._file, "exec")
        except SyntaxError:
            return
        self.found.append(edit)

    def _swap(self, left: ast.expr, right: ast.expr, words: dict[str, str], pattern: str) -> None:
        """Swap the operator that stands between two expressions."""
        begin = self._end(left)
        gap = self._source[begin : self._start(right)].decode()
        code = re.sub(r"#[^\n]*", lambda comment: " " * len(comment[0]), gap)
        found = re.search(pattern, code)
        if found is not None and found[0] in words:
            self._edit(begin + len(gap[: found.start()].encode()), found[0], words[found[0]])

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in (*node.args.defaults, *node.args.kw_defaults, *node.body):
            if child is not None:
                self.visit(child)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Pass over it: before Python 3.12 it does not say where its parts stand."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right in pairwise(operands):
            self._swap(left, right, COMPARISONS, r"[<>=!]=?")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add | ast.Sub):
            self._swap(node.left, node.right, OTHERS, r"[+-]")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap(node.target, node.value, OTHERS, r"[+-]=")
        self.visit(node.value)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in pairwise(node.values):
            self._swap(left, right, OTHERS, r"\b(and|or)\b")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._edit(self._start(node), "not ", "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value, start = node.value, self._start(node)
        if isinstance(value, bool):
            self._edit(start, str(value), str(not value))
        elif isinstance(value, int):
            text = self._source[start : self._end(node)].decode()
            self._edit(start, text, str(value + 1))

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        if value is not None and not isinstance(value, ast.Constant):
            self._edit(
                self._start(value), self._source[self._start(value) : self._end(value)].decode(), "None"
            )
        elif isinstance(value, ast.Constant) and value.value is None:
            self._edit(self._start(value), "None", "True")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._edit(self._start(node), "continue", "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._edit(self._start(node), "break", "continue")


@dataclass
class Tests:
    """Tests, from the quick to the slow, and how long each lot may take."""

    lots: list[tuple[str, ...]]
    limits: list[float]

    def noticed(self, copy: Path) -> str | None:
        """Return how the code in a copy was found to be wrong, None where it was not."""
        for lot, limit in zip(self.lots, self.limits, strict=True):
            ended = run(copy, lot, limit)
            if not ended.passed:
                return "timeout" if ended.code is None else "failed" if ended.failures else "broken"
        return None


def chosen_tests(copy: Path) -> Tests:
    """Return the tests of the core and the scenarios; what fails without a mistake ends the program."""
    core = [str(path.relative_to(copy)) for path in sorted((copy / CORE).glob("test_*.py"))]
    lots = [tuple(test for test in core if test not in SLOW), LAST, SLOW]
    limits = []
    for lot in lots:
        began = time.monotonic()
        ended = run(copy, lot, 600)
        if not ended.passed:
            sys.exit(f"{' '.join(lot)}: no success without a mistake\n{ended.output}")
        limits.append(max(LEAST_S, TOO_SLOW * (time.monotonic() - began)))
    return Tests(lots, limits)


def edits(root: Path, files: Sequence[str]) -> list[Edit]:
    """Return all mistakes in some files."""
    return [edit for file in files for edit in Mistakes(file, (root / file).read_bytes()).found]


def results(
    wanted: Sequence[Edit], tests: Tests, right: Path, jobs: int
) -> Iterator[tuple[Edit, str | None]]:
    """Yield each mistake with how it was noticed, if it was; `right` is a copy without one."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(copied(Path(folder, str(number)), right))

        def judged(edit: Edit) -> tuple[Edit, str | None]:
            copy = copies.get()
            source = (right / edit.file).read_bytes()
            try:
                (copy / edit.file).write_bytes(edit.applied(source))
                return edit, tests.noticed(copy)
            finally:
                (copy / edit.file).write_bytes(source)
                copies.put(copy)

        try:
            yield from pool.map(judged, wanted)
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> None:
    """Make mistakes and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.sweep", description=__doc__)
    parser.add_argument("--files", nargs="+", help="modules to spoil (all of monitor/core)")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at a time (2)")
    parser.add_argument("--limit", type=int, help="so many mistakes at most, drawn at random (all)")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (0)")
    parser.add_argument("--json", type=Path, help="a file to write the report to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # What is edited meanwhile does not matter.
        right = copied(Path(folder))
        core = sorted(str(path.relative_to(right)) for path in (right / "monitor/core").glob("*.py"))
        report = swept(options, edits(right, options.files or core), right)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def swept(options: argparse.Namespace, found: Sequence[Edit], right: Path) -> dict[str, Any]:
    """Make the mistakes wanted, say how it goes, and return the report."""
    limit = len(found) if options.limit is None else min(options.limit, len(found))
    wanted = random.Random(options.seed).sample(found, limit)
    tests = chosen_tests(right)
    ways: Counter[str] = Counter()
    survivors: list[dict[str, Any]] = []
    print(f"{limit} of {len(found)} mistakes", flush=True)
    for number, (edit, way) in enumerate(results(wanted, tests, right, options.jobs), 1):
        ways[way or "survived"] += 1
        if way is None:
            survivors.append(asdict(edit))
            print(f"survived: {edit}", flush=True)
        if number % 10 == 0:
            print(f"{number} of {limit}: {len(survivors)} survived", flush=True)
    score = 1 - len(survivors) / max(1, limit)
    print(f"{score:.1%} of {limit} mistakes were noticed: {dict(ways)}")
    return {"score": score, "mistakes": limit, "ways": dict(ways), "survivors": survivors}


if __name__ == "__main__":
    main()
