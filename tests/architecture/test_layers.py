"""The shape of the code: what may import what, how large a module may be, what the core may touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "monitor").rglob("*.py"))
LONGEST_MODULE = 400
# Pure parts of the standard library. What reads a clock, a file, a socket or chance is not here;
# of `sys` only constants may be used.
PURE = frozenset(
    {
        "__future__", "abc", "array", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime",
        "enum", "functools", "hashlib", "heapq", "ipaddress", "itertools", "json", "math", "operator",
        "re", "string", "struct", "sys", "types", "typing", "zlib",
    }
)  # fmt: skip
PURE_SYS = frozenset({"byteorder", "intern", "maxsize"})


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            found.add(node.module or "")
    return found


def is_sys(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "sys"


def test_imports_go_down_only():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_longer_than_a_person_reads(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", sorted((ROOT / "monitor" / "core").rglob("*.py")), ids=name_of)
def test_the_core_imports_nothing_that_does_io(path: Path):
    others = {
        name
        for name in imports(path)
        if name.partition(".")[0] not in PURE and not name.startswith(("monitor.core", "monitor.errors"))
    }
    assert others == set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_sys = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_sys(node.value)}
    assert of_sys <= PURE_SYS


@pytest.mark.parametrize("path", sorted((ROOT / "monitor" / "core").rglob("*.py")), ids=name_of)
def test_the_core_asks_no_clock_and_awaits_nothing(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef)]
    clocks = {"now", "today", "utcnow"}
    assert not [
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in clocks
    ]
