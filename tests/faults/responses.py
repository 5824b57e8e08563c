"""What the ledger and the gateway must hold: one decision per finding, one revocation in effect, none made up."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.response.lifecycle import webhook_id
from monitor.wire.credentials import CredentialRecord, decision_hash, decode_credential

if TYPE_CHECKING:
    from tests.faults.logs import Logs
    from tests.faults.oracles import Fold, Verdict
    from tests.faults.receiver import Receiver

_JUDGED: Final = ("requested", "held", "suppressed")
_VERSIONED: Final = ("requested", "expired")
_TOLD: Final = ("requested", "expired")

#: (credential, version).
Told = tuple[str, int]


def check_ledger(logs: Logs, fold: Fold, to: Verdict) -> list[dict[str, Any]]:
    """B: the decisions form one sequence with one chain of hashes, one for each finding; return them."""
    entries, previous = [], ""
    for number, record in enumerate(logs.of("decisions")):
        entry = orjson.loads(record.value)
        to.require(entry["sequence"] == number, f"B decision {number} has the number {entry['sequence']}")
        to.require(entry["previous"] == previous, f"B decision {number} does not follow the one before")
        previous = decision_hash(record.value)
        entries.append(entry)
    judged = Counter(entry["finding"] for entry in entries if entry["kind"] in _JUDGED)
    for finding in fold.findings:
        to.require(judged[finding] == 1, f"B finding {finding} has {judged[finding]} decisions")
    made_up = judged.keys() - fold.findings.keys()
    to.require(not made_up, f"B decisions about {len(made_up)} findings that there are not")
    versions: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        if entry["kind"] in _VERSIONED:
            versions[f"{entry['realm']}/{entry['id']}"].append(entry["version"])
    for subject, seen in versions.items():
        to.require(seen == list(range(1, len(seen) + 1)), f"B {subject}: versions {seen}")
    for kind, count in Counter(entry["kind"] for entry in entries).items():
        to.seen[kind] = count
    return entries


class Decided:
    """What the ledger says that gateways were to be told, and were."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        #: webhook id → what it is about.
        self.told: dict[str, Told] = {}
        self.newest: dict[str, int] = {}
        self.accepted: set[Told] = set()
        self.attempts: Counter[Told] = Counter()
        for entry in entries:
            kind = entry["kind"]
            if "realm" not in entry:
                continue
            about = f"{entry['realm']}/{entry['id']}", entry.get("version", 0)
            if kind in _TOLD:
                self.told[webhook_id(entry["realm"], entry["id"], about[1], entry["finding"])] = about
            if kind in _VERSIONED:
                self.newest[about[0]] = about[1]
            if kind == "accepted":
                self.accepted.add(about)
            if kind == "attempted":
                self.attempts[about] += 1


def check_delivered(logs: Logs, entries: list[dict[str, Any]], receiver: Receiver, to: Verdict) -> None:
    """B: the gateway did what was decided, each thing under one id, and nothing else."""
    decided = Decided(entries)
    called: Counter[Told] = Counter()
    done: dict[Told, set[str]] = defaultdict(set)
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for call in receiver.calls:
        bodies[call.webhook_id].add(call.body)
        data = call.data
        about = f"{data['realm']}/{data['id']}", data["version"]
        to.require(decided.told.get(call.webhook_id) == about, f"B a call about {about} that nobody decided")
        called[about] += 1
        if call.done:
            done[about].add(call.webhook_id)
    to.require(not receiver.forged, f"B {receiver.forged} calls with a wrong signature")
    for webhook, texts in bodies.items():
        to.require(len(texts) == 1, f"B {webhook} said {len(texts)} different things")
    for about in sorted(set(decided.told.values())):
        effects = len(done[about])
        final = decided.newest[about[0]] == about[1]
        to.require(effects <= 1, f"B {about} has {effects} ids in effect")
        to.require(effects or not final, f"B {about} never reached the gateway")
        to.require(
            effects or about not in decided.accepted, f"B {about} is accepted, and the gateway knows nothing"
        )
        to.require(
            called[about] <= decided.attempts[about],
            f"B {about}: {called[about]} calls, {decided.attempts[about]} noted",
        )
        to.seen["superseded"] += not effects
    _compare_book(logs, receiver, to)
    to.seen["calls"] = len(receiver.calls)
    to.seen["revocations"] = sum(bool(ids) for ids in done.values())


def _compare_book(logs: Logs, receiver: Receiver, to: Verdict) -> None:
    """Require that the gateway holds what `credentials` says."""
    for record in credentials(logs).values():
        if record.state == "held" or record.accepted_ms is None:
            to.require(record.state == "held", f"B {record.subject} is not accepted at the end")
            continue
        holds = receiver.holds.get(record.id)
        want = record.version, record.status.value
        to.require(holds == want, f"B {record.subject}: the gateway holds {holds}, decided is {want}")


def credentials(logs: Logs) -> dict[str, CredentialRecord]:
    """Return the newest record of each credential."""
    found: dict[str, CredentialRecord] = {}
    for record in logs.of("credentials"):
        if not record.key.startswith(b"@") and record.value is not None:
            credential = decode_credential(record.value, "credentials")
            found[credential.subject] = credential
    return found
