"""One attack on a running stack, followed to the proof that it was stopped."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from monitor.demo.processes import until
from monitor.demo.report import Observed
from monitor.demo.traffic import enumerate_appointments, try_again

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.core.rules import Rule, RuleSet
    from monitor.demo.follow import Follower
    from monitor.demo.stack import Stack
    from monitor.demo.traffic import Answer

_MORE_TRIES: Final = 5
_TRY_SECONDS: Final = 0.02
_PROOF_SECONDS: Final = 10.0


def patients_rule(rules: RuleSet) -> Rule:
    """Return the rule of the default pack that the demo is about: many patients, one credential."""
    return next(
        rule
        for rule in rules.rules
        if rule.group_by == ("principal",) and rule.counted == "patient" and rule.action != "alert"
    )


async def run_attack(
    stack: Stack,
    follower: Follower,
    client_id: str,
    *,
    rate: float,
    threshold: int,
    first: int = 0,
    on_answer: Callable[[Answer], None] = lambda _: None,
) -> Observed:
    """Enumerate from the appointment at index `first` on until refused; try again; wait for the proof."""
    client = stack.clients[client_id]
    every = list(stack.register.appointments)
    ids = iter(every[first:] + every[:first])
    await enumerate_appointments(client, ids, rate, on_answer)
    refused = client.tally.refused > 0
    retries = await try_again(client, itertools.islice(ids, _MORE_TRIES), _TRY_SECONDS) if refused else []

    def closed() -> bool:
        credential = follower.credentials.get(client_id)
        if credential is None or client_id not in follower.findings:
            return False
        return credential.enforced_ms is not None and credential.accepted_ms is not None

    await until(closed, within_seconds=_PROOF_SECONDS)
    return Observed(
        client.tally,
        threshold,
        follower.findings.get(client_id),
        follower.credentials.get(client_id),
        stack.receiver.calls,
        retries,
    )
