"""The demo from beginning to end: normal work, an attack, and what became of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.demo.attack import patients_rule, run_attack
from monitor.demo.background import beside, partners_at_work
from monitor.demo.processes import until
from monitor.demo.report import (
    Latency,
    Link,
    Report,
    exposure,
    latency,
    leaked,
    loop_links,
    partners_link,
)
from monitor.demo.stack import ATTACKER, PARTNERS, Stack, StackOptions
from monitor.demo.traffic import REFUSALS, Answer, enumerate_appointments
from monitor.rulebook import load_rules
from monitor.stream.read import read_to_end
from monitor.wire.credentials import decision_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from monitor.demo.follow import Finding, Follower
    from monitor.demo.receiver import Call
    from monitor.demo.scene import Scene
    from monitor.demo.traffic import Tally
    from monitor.wire.credentials import CredentialRecord

RATE: Final = 50.0
#: With nobody to stop it, the attack takes everything; nobody wants to watch that for two minutes.
RATE_WITHOUT: Final = 300.0
_QUIET_SECONDS: Final = 8.0
_POLL_SECONDS: Final = 0.05
_CALM_REQUESTS: Final = 2


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a person may choose; `rate` is the attacker's requests a second, `kafka` ``host:port``."""

    rate: float | None = None
    with_monitor: bool = True
    keep: bool = False
    kafka: str | None = None
    seed: int = 1


async def play(
    folder: Path, options: DemoOptions, scene: Scene, on_report: Callable[[Report, Stack], None]
) -> None:
    """Run the demo in a folder and hand over the report; with `keep`, stay up until cancelled."""
    began = time.monotonic()
    scene.open()
    try:
        choice = StackOptions(options.seed, with_monitor=options.with_monitor, kafka=options.kafka)
        async with Stack(folder, choice, scene.say) as stack:
            run = _Run(stack, options, scene, began)
            async with beside(*run.background()):
                report = await run.play()
                scene.close()
                on_report(report, stack)
                if options.keep:
                    await asyncio.Event().wait()
    finally:
        scene.close()


class _Run:
    """What belongs to one run, once its stack is up."""

    def __init__(self, stack: Stack, options: DemoOptions, scene: Scene, began: float) -> None:
        self._stack = stack
        self._options = options
        self._scene = scene
        self._began = began
        self._started = time.monotonic()
        self._rate = options.rate or (RATE if options.with_monitor else RATE_WITHOUT)
        self._open_hours = asyncio.Event()
        self._open_hours.set()
        self._refused = False
        self._decided: set[tuple[str, int]] = set()
        self._rule = patients_rule(load_rules(["pack:default"]).rule_set)
        self._follower: Follower | None = None
        if options.with_monitor:
            self._follower = stack.follower(on_finding=self._on_finding, on_credential=self._on_credential)
            stack.receiver.on_call = self._on_call

    def background(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what goes on all the time: partners at work, and watching."""
        yield from partners_at_work(self._stack, self._open_hours)
        yield self._stack.processes.watch()
        if self._follower is not None:
            yield self._follower.follow()

    async def play(self) -> Report:
        """Let partners work, let the attacker loose, and judge."""
        start_seconds = time.monotonic() - self._began
        scene, stack = self._scene, self._stack
        limit = self._rule.threshold if self._options.with_monitor else None
        for partner in PARTNERS:
            scene.show(stack.clients[partner].tally, limit=limit)
        scene.show(stack.clients[ATTACKER].tally, limit=limit)
        scene.say(f"{len(PARTNERS)} partner integrations read their own practices' appointments")
        await self._until_partners_made(_CALM_REQUESTS)
        scene.say(f"{ATTACKER}: enumerates appointments, {self._rate:g} a second, each request valid")
        scene.becomes(ATTACKER, "enumerates")
        attacked = time.monotonic()
        figures: dict[str, Any] = {}
        if self._follower is None:
            links = await self._take_everything()
        else:
            links, figures = await self._attack_and_judge(self._follower)
        attack_seconds = time.monotonic() - attacked
        await self._until_partners_made(1)
        links.append(partners_link(self._partners()))
        if self._follower is not None:
            links.insert(0, await self._events_link())
            links.append(await self._ledger_link())
        return Report(
            with_monitor=self._options.with_monitor,
            rate=self._rate,
            exposure=exposure(
                stack.clients[ATTACKER].tally,
                appointments=len(stack.register.appointments),
                patients=stack.register.patients,
                threshold=self._rule.threshold,
                timespan_seconds=self._rule.timespan_ms // 1000,
            ),
            partner_requests=sum(len(tally.answers) for tally in self._partners()),
            partner_refused=sum(tally.refused for tally in self._partners()),
            partner_failed=sum(tally.failed for tally in self._partners()),
            start_seconds=round(start_seconds, 1),
            attack_seconds=round(attack_seconds, 1),
            run_seconds=round(time.monotonic() - self._began, 1),
            links=tuple(links),
            **{**_NO_FIGURES, **figures},
        )

    async def _take_everything(self) -> list[Link]:
        client = self._stack.clients[ATTACKER]
        await enumerate_appointments(client, self._stack.register.appointments, self._rate)
        taken, total = len(client.tally.objects), len(self._stack.register.appointments)
        if taken == total:
            self._scene.becomes(ATTACKER, "has them all")
        self._scene.say(f"{ATTACKER}: has {taken:,} of {total:,} appointments")
        return [Link("nobody counts", taken == total, f"{taken:,} of {total:,} appointments went")]

    async def _attack_and_judge(self, follower: Follower) -> tuple[list[Link], dict[str, Any]]:
        observed = await run_attack(
            self._stack,
            follower,
            ATTACKER,
            rate=self._rate,
            threshold=self._rule.threshold,
            on_answer=self._on_answer,
        )
        finding, credential = observed.finding, observed.credential
        return loop_links(observed), {
            "latency_ms": latency(observed),
            "leaked_after_decision": leaked(observed),
            "incident": credential.incident if credential else None,
            "rule": finding.rule if finding else None,
            "summary": finding.summary if finding else None,
            "state": credential.state if credential else None,
        }

    async def _events_link(self) -> Link:
        """Compare what the gateway answered with what is durably counted, once nobody asks."""
        self._open_hours.clear()
        clients = self._stack.clients.values()
        deadline = time.monotonic() + _QUIET_SECONDS
        seen, asked = -1, 0
        while seen != asked and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            if any(client.in_flight for client in clients):
                continue
            asked, seen = self._stack.requests_answered, await self._stack.events_counted()
        self._open_hours.set()
        return Link("events", seen == asked, f"{asked:,} requests answered, {seen:,} events counted")

    async def _ledger_link(self) -> Link:
        """Follow the hashes from the first entry of the ledger to the last."""
        settings = self._stack.settings
        entries, previous, whole = 0, "", True
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("decisions"), 0):
            for record in records:
                whole = whole and orjson.loads(record.value)["previous"] == previous
                previous = decision_hash(record.value)
                entries += 1
        chain = "unbroken" if whole else "BROKEN"
        return Link("ledger", whole and entries > 0, f"{entries} entries, hash chain {chain}")

    async def _until_partners_made(self, requests: int) -> None:
        wanted = {tally.client: len(tally.answers) + requests for tally in self._partners()}
        await until(lambda: all(len(tally.answers) >= wanted[tally.client] for tally in self._partners()))

    def _partners(self) -> list[Tally]:
        return [self._stack.clients[partner].tally for partner in PARTNERS]

    def _on_finding(self, finding: Finding) -> None:
        self._scene.becomes(finding.principal, "found")
        self._scene.say(f"finding: {finding.summary}")

    def _on_credential(self, credential: CredentialRecord) -> None:
        decided = (credential.id, credential.version)
        if credential.state == "requested" and decided not in self._decided:
            self._decided.add(decided)
            self._scene.becomes(credential.id, "suspended")
            self._scene.say(f"decision: {credential.incident}, {credential.id} is {credential.status.value}")
        elif credential.state == "enforced":
            self._scene.say(f"proof: {credential.incident} is enforced, a refusal was seen in the events")

    def _on_call(self, call: Call) -> None:
        self._scene.say(f"webhook: {call.type} for {call.credential}, signature verified")

    def _on_answer(self, answer: Answer) -> None:
        if answer.status in REFUSALS and not self._refused:
            self._refused = True
            self._scene.becomes(ATTACKER, "refused")
            self._scene.say(f"gateway: {ATTACKER} is refused ({answer.status})")


_NO_FIGURES: Final[dict[str, Any]] = {
    "latency_ms": Latency(None, None, None, None),
    "leaked_after_decision": 0,
    "incident": None,
    "rule": None,
    "summary": None,
    "state": None,
}
