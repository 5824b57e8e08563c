"""The drill: suspend a test credential at a gateway, look, reinstate it, look again.

A token that expired in March is found in March, and not by the incident in June. What is used is what an
incident uses: the adapter, its secret, the way there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from monitor.core.events import CredentialStatus
from monitor.response.adapters.protocol import Accepted, DesiredState, Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.response.adapters import Endpoint

#: Longest that a gateway may take to show what it was told, beyond its own time to effect.
_PATIENCE_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill found at one gateway.

    `problems` is empty where all held; `proven` says whether the gateway's own state was read back, or
    only its answers are known. `seconds` is how long it took until the gateway said that it refuses.
    """

    adapter: str
    problems: tuple[str, ...]
    proven: bool = False
    seconds: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the gateway could be told."""
        return not self.problems


async def drill(endpoints: Sequence[Endpoint], *, act: bool = True) -> list[Drilled]:
    """Drill all gateways side by side; without `act` they are only asked what we may do there."""
    return list(await asyncio.gather(*(_drill(endpoint, act=act) for endpoint in endpoints)))


async def _drill(endpoint: Endpoint, *, act: bool) -> Drilled:
    problems = await endpoint.adapter.probe()
    if problems or not act:
        return Drilled(endpoint.name, tuple(problems))
    if endpoint.drill is None:
        return Drilled(endpoint.name, ("no test credential: set drill_credential",))
    run = uuid4().hex
    proven = False
    seconds = None
    for version, status in enumerate((CredentialStatus.SUSPENDED, CredentialStatus.ACTIVE), 1):
        wanted = _wanted(endpoint, endpoint.drill, status, version, run)
        began = time.monotonic()
        outcome = await endpoint.adapter.tell(wanted)
        what = "suspend" if wanted.refused else "reinstate"
        if not isinstance(outcome, Accepted):
            problems.append(f"{what}: {outcome.reason}")
        elif outcome.note is not None:
            problems.append(f"{what}: {outcome.note}; is drill_credential right?")
        else:
            seen = await _seen(endpoint, wanted)
            if seen is not None and (seen is Seen.REFUSED) is not wanted.refused:
                problems.append(f"{what}: accepted, but the gateway says {seen.value}")
            proven = seen is not None
            if wanted.refused and proven:
                seconds = time.monotonic() - began
    # Also where the suspension failed the reinstatement was tried: nothing is left refused.
    return Drilled(endpoint.name, tuple(problems), proven and not problems, seconds)


async def _seen(endpoint: Endpoint, wanted: DesiredState) -> Seen | None:
    """Return what the gateway says, once it says what it was told or its time is up."""
    longest = endpoint.adapter.traits.time_to_effect_seconds + _PATIENCE_SECONDS
    deadline = time.monotonic() + min(longest, _LONGEST_WAIT_SECONDS)
    while True:
        seen = await endpoint.adapter.read_back(wanted)
        if seen is None or (seen is Seen.REFUSED) is wanted.refused or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(_POLL_SECONDS)


def _wanted(
    endpoint: Endpoint, who: tuple[str, str, str], status: CredentialStatus, version: int, run: str
) -> DesiredState:
    realm, id_, kind = who
    return DesiredState(
        realm=realm,
        id=id_,
        kind=kind,
        status=status,
        version=version,
        since_ms=int(time.time() * 1000),
        until_ms=None,
        incident="DRILL",
        finding="",
        rule_id="",
        rule_title="Drill",
        reason="A drill of the access monitor: nothing has happened.",
        message=f"drill_{endpoint.name}_{run}_{version}",
        drill=True,
    )
