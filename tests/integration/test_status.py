"""`monitor status` tells what happens, from Kafka alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from monitor.errors import ExitCode
from tests.integration.stack import wait_for
from tests.integration.test_loop import LIMIT, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.stack import Stack


def test_status_shows_the_incident_and_whether_it_is_contained(stack: Stack):
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    screen = stack.run("status").stdout
    assert "enforce: limits refuse credentials" in screen
    assert "alive" in screen
    assert "INC-0001  gate/partner-17  suspended, accepted  NOT PROVEN YET" in screen
    assert "50 patients read" in screen

    def contained() -> bool:
        stack.ship([event("partner-17", 999, status=403)])
        return "suspended, enforced  CONTAINED" in stack.run("status").stdout

    wait_for(contained, worker)
    plain = json.loads(stack.run("status", "--json").stdout)
    assert plain["mode"] == "enforce"
    assert plain["incidents"][0]["contained"] is True
    assert {feed["name"] for feed in plain["feeds"]} == {"gate", "detect", "enforce"}


def test_status_of_a_person_does_not_show_who(stack: Stack):
    worker = stack.worker()
    who = "anna.example@mail.test"
    stack.ship(event(who, patient, principal_kind="account") for patient in range(LIMIT))
    wait_for(
        lambda: any((record.key or b"").startswith(b"gate/c1:") for record in stack.records("credentials")),
        worker,
    )
    screen = stack.run("status").stdout
    assert "gate/c1:" in screen
    assert "anna" not in screen


def test_status_before_init_says_what_to_do(new_stack: Callable[..., Stack], broker: str):
    stack = new_stack()
    done = stack.run("status")
    if broker == "cluster":
        assert done.returncode == ExitCode.CONFIG
        assert "run `monitor init`" in done.stderr
    else:
        # The embedded broker has its topics from the start.
        assert "never seen" in done.stdout
