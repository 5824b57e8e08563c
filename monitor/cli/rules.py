"""`monitor rules`: check, test and tune rules, put them in force, and see what they find."""

from __future__ import annotations

from typing import Final

import click

from monitor.cli.lazy import LazyGroup

#: name → (module of monitor.cli, what it does). Each module has a `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "check": ("rules_check", "Read rules and report every fault at once."),
    "test": ("rules_test", "Run the test cases that stand beside rules."),
    "tune": ("tune", "Show what each threshold would have found in past events."),
    "list": ("rules_list", "List the rules in force and what each has found so far."),
    "show": ("rules_show", "Show one rule in full."),
    "diff": ("rules_diff", "Show what a publish would change."),
    "publish": ("rules_publish", "Put rules in force, without a restart."),
    "rollback": ("rules_rollback", "Go back to the rules before."),
    "history": ("rules_history", "List all rule sets that were in force."),
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def command() -> None:
    """Check, test, publish and follow detection rules (Sigma correlation rules in YAML)."""
