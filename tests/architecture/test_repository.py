"""What anyone who clones the repository finds: no trace of one machine, a Makefile that explains itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A registry's address, or a path of the machine where something was made.
TRACES = re.compile(
    r"pypi\.(?:org|python)|files\.pythonhosted|repo1?\.maven|maven\.apache\.org/maven2|registry\.npmjs"
    r"|proxy\.golang|--(?:extra-)?index-url|--find-links|--trusted-host"
    r"|file:///|(?<![\w.])/(?:home|root|Users|opt|work)/"
)
TEXT = {".cfg", ".ini", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".xml", ".yaml", ".yml", ""}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.splitlines())
    return [path for path in paths if path.is_file() and path != Path(__file__) and path.suffix in TEXT]


def test_no_file_holds_a_registry_address_or_a_path_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := TRACES.search(line))
    ]
    assert found == []


def test_every_lock_pins_with_hashes():
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        assert len(re.findall(r"^[a-z0-9.-]+==\S+ \\$", text, re.MULTILINE)) == len(
            re.findall(r"^[a-z0-9]\S*", text, re.MULTILINE)
        ), lock.name


def test_the_locks_agree_with_pyproject():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    locked = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").lower()
    pins = re.findall(r'^  "([A-Za-z0-9_.-]+)(?:\[[a-z]+\])?==([^";]+)[";]', project, re.MULTILINE)
    assert pins
    stale = [
        name
        for name, version in pins
        if not re.search(rf"^{re.escape(name.lower())}=={re.escape(version.strip())} ", locked, re.MULTILINE)
    ]
    assert stale == [], "run `make lock`"


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"^  make ([\w-]+)", said, re.MULTILINE)) == sorted(phony[1].split())
