"""The rules that come with the monitor: complete, tested, and sound for others who read Sigma."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.cli import cli
from monitor.core.rules import rule_set_document, rule_set_from_document
from monitor.rulebook import load_rules
from monitor.rulebook.documents import PACKS, parse

REPOSITORY = Path(__file__).parents[2]
SIGMA = REPOSITORY / ".cache" / "sigma-cli" / "bin" / "sigma"
RULES = load_rules(["pack:default"]).rule_set.rules


def test_it_is_sound_and_cuts_off_credentials_only():
    loaded = load_rules(["pack:default"])
    assert loaded.rule_set.axes == ("client_ip", "patient", "principal")
    assert all(rule.axis == "principal" or rule.action == "alert" for rule in RULES)
    assert all(rule.action in ("alert", "suspend") for rule in RULES), "a revocation is for people"
    assert rule_set_from_document(rule_set_document(loaded.rule_set)) == loaded.rule_set
    assert all(name.startswith("pack:default/") for name in loaded.texts)


def test_every_rule_says_what_a_person_needs():
    headings = re.findall(r"^## (\S+)$", (REPOSITORY / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    for file in sorted((PACKS / "default").glob("*.yml")):
        for document in parse(file.name, file.read_text(encoding="utf-8"), []):
            value = document.value
            for key in (
                "title",
                "id",
                "name",
                "status",
                "description",
                "references",
                "author",
                "date",
                "level",
            ):
                assert value.get(key), (file.name, document.title, key)
            assert value["falsepositives"], document.title
            if "correlation" in value:
                assert value["runbook"].removeprefix("docs/runbooks.md#") in headings, document.title


@pytest.mark.parametrize("counted", ["patient", "object"])
def test_distinct_reads_are_limited_over_a_minute_and_over_a_month(counted: str):
    for share in ("One credential", "One account"):
        spans = {
            rule.timespan_ms // 60_000: rule.threshold
            for rule in RULES
            if rule.counted == counted
            and rule.kind == "value_count"
            and rule.title.startswith(share)
            and "reads many" in rule.title
        }
        assert sorted(spans) == [1, 10, 1440, 43_200]
        assert list(spans.values()) == sorted(spans.values()), "a longer timespan has a larger limit"
        # One window for all of them: they count the same.
    keys = {rule.window_key for rule in RULES if rule.title.startswith("One account reads many patients")}
    assert len(keys) == 1


def test_an_unknown_class_has_the_limits_of_a_partner():
    by_title = {rule.title: rule for rule in RULES}
    condition = by_title["One credential reads many patients in 1 minute"].condition
    assert "bulk-sync" in str(condition)
    assert "partner" not in str(condition)


def test_its_own_tests_pass():
    result = CliRunner().invoke(cli, ["rules", "test", "pack:default"])
    assert result.exit_code == 0, result.output
    for rule in RULES:
        assert f": {rule.title.lower()}, at the limit" in result.output


def test_sigma_cli_finds_nothing_wrong(tmp_path: Path):
    if not SIGMA.exists():
        assert not os.environ.get("CI"), "requirements/sigma.sh has not run"
        pytest.skip("no sigma-cli: run requirements/sigma.sh")
    for file in (PACKS / "default").glob("*.yml"):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        [SIGMA, "check", "--fail-on-error", "--fail-on-issues", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Found 0 errors, 0 condition errors and 0 issues." in done.stdout
