"""Copies of the project, in which tests run on code that was made wrong."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.engine import PURE

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
_FAILURE = re.compile(r"^FAILED (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """How a run of tests ended; `code` is None where it took too long."""

    code: int | None
    output: str

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.code == 0

    @property
    def failures(self) -> list[str]:
        """The tests that failed; none where the run broke in another way, which proves nothing."""
        return _FAILURE.findall(self.output) if self.code == 1 else []


def copied(folder: Path, root: Path = ROOT) -> Path:
    """Copy what tests need into a folder and return it.

    No compiled files: a change of the same length within a second would not be seen.
    """
    for name in ("monitor", "tests"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", folder)
    return folder


def run(copy: Path, tests: Sequence[str], timeout_s: float) -> Run:
    """Run tests in a copy until the first failure."""
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        PURE: "1",
    }  # mutants are of Python
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutants.inside", str(copy), *tests],
        cwd=copy,
        env={name: value for name, value in environment.items() if not name.startswith("PYTEST_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return Run(None, output)
    return Run(process.returncode, output)
