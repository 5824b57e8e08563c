"""The life of a response: whatever happens in whatever order, it takes only legal steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.core.events import CredentialStatus
from monitor.errors import InvariantError
from monitor.response import lifecycle, switches
from monitor.response.acting import on_act
from monitor.response.casebook import Casebook
from monitor.response.observing import on_observation
from monitor.response.states import ENDS, REFUSING, Step, changed, check
from monitor.rulebook.directory import Directory, DirectoryEntry
from monitor.wire import acts
from monitor.wire.credentials import CredentialRecord, decode_credential, encode, status_entry
from tests.response.stage import POLICY, finding, observation

if TYPE_CHECKING:
    from monitor.response.answers import Answer

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
SUBJECT = "gate/partner-1"
PROTECTED = Directory(
    {SUBJECT: DirectoryEntry(realm="gate", id="partner-1", of_class="partner", protected=True)}
)
PEOPLE = ("ann", "bob", "eve")
STRENGTH = {CredentialStatus.ACTIVE: 0, CredentialStatus.SUSPENDED: 1, CredentialStatus.REVOKED: 2}


def act(kind: type[acts.Act], number: int, by: str, **fields: Any) -> acts.Act:
    """Return an act of a person."""
    return kind(act=f"act-{number}", by=by, reason="because", at_ms=START_MS, **fields)


class Life(RuleBasedStateMachine):
    """One credential, and everything that can happen to it; beside it a model of what may be.

    The model knows only the status, who has agreed, and what stands in the way of a response.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = START_MS
        self.number = 0
        self.book = Casebook(POLICY)
        self.status = CredentialStatus.ACTIVE
        self.until_ms: int | None = None
        self.version = 0
        self.agreed: set[str] = set()
        self.allowed_until_ms = self.paused_until_ms = 0
        self.protected = False
        self.told: list[tuple[int, CredentialStatus]] = []

    @initialize(delivers=st.booleans(), protected=st.booleans())
    def begin(self, delivers: bool, protected: bool):
        self.protected = protected
        self.book = Casebook(replace(POLICY, delivers=delivers), PROTECTED if protected else Directory())

    @property
    def record(self) -> CredentialRecord | None:
        return self.book.records.get(SUBJECT)

    def take(self, step: Step) -> None:
        """Take a step, and look at what every step must keep."""
        before = self.record
        self.book.take(step)
        after = self.record
        if after is None or after is before:
            return
        assert step.decisions or step.more, "nothing changes without an entry in the ledger"
        assert decode_credential(encode(after), "here") == after
        changed = before is None or after.version != before.version
        told = [part for part in step.parts() if part.told]
        if after.refused != (before is not None and before.refused):
            assert told, "gateways and detect hear of each change"
        if told:
            self.told.append((after.version, after.status))
        if before is not None and not changed and before.incident == after.incident:
            assert after.status is before.status
            assert after.leaked >= before.leaked
        if before is not None and before.incident != after.incident:
            assert before.state in ENDS
            assert self.book.earlier[before.incident] == before

    def follow(self, status: CredentialStatus, until_ms: int | None = None) -> None:
        """Let the model follow a change of status."""
        if status is not self.status or until_ms != self.until_ms:
            self.version += 1
        self.status, self.until_ms, self.agreed = status, until_ms, set()

    @invariant()
    def it_is_as_the_model_says(self):
        record = self.record
        if record is None:
            assert self.status is CredentialStatus.ACTIVE
            return
        assert record.status is self.status
        assert record.until_ms == self.until_ms
        assert record.version == self.version
        assert (record.state in REFUSING) == (self.status is not CredentialStatus.ACTIVE)
        assert {approval.by for approval in record.approvals} == self.agreed or record.state != "held"
        versions = [version for version, _ in self.told]
        assert versions == sorted(versions), "a gateway is never told of an older one"
        assert len(set(self.told)) == len(set(versions)), "a version has one status"
        entry = status_entry(record)
        assert (entry.watch is not None) == (record.state == "held")

    @rule(
        action=st.sampled_from(["alert", "suspend", "revoke"]),
        mode=st.sampled_from(["enforce", "enforce", "shadow"]),
        ttl=st.sampled_from([None, MINUTE_MS]),
        age=st.sampled_from([0, 1, 15 * MINUTE_MS, 15 * MINUTE_MS + 1]),
        stale=st.sampled_from([False, False, True]),
    )
    def find(self, action: str, mode: str, ttl: int | None, age: int, stale: bool):
        self.number += 1
        new = finding(self.number, action=action, mode=mode, ttl_ms=ttl, at_ms=self.now_ms - age, stale=stale)
        before = self.record
        step = lifecycle.on_finding(self.book, new, self.now_ms)
        wanted = {"alert": 0, "suspend": 1, "revoke": 2}[action]
        due = mode == "enforce" and wanted > 0 and self.allowed_until_ms <= self.now_ms
        again = due and before is not None and before.state == "failed" and wanted <= STRENGTH[self.status]
        free = not (stale or age > 15 * MINUTE_MS or self.protected or self.paused_until_ms > self.now_ms)
        kinds = [decision.kind for decision in step.decisions]
        stronger = due and wanted > STRENGTH[self.status]
        if again:
            assert kinds == ["requested"]
        elif stronger and free:
            assert kinds[0] == "requested"
            self.follow_request(step)
        elif stronger and self.status is CredentialStatus.ACTIVE:
            assert kinds == ["held"]
        else:
            assert kinds == ["suppressed"]
            assert not step.told
        assert all(decision.details["mode"] == mode for decision in step.decisions[:1])
        self.take(step)
        if self.record is not None and self.record.finding == new["id"]:
            assert lifecycle.on_finding(self.book, new, self.now_ms) == Step(), "once"

    def follow_request(self, step: Step) -> None:
        assert step.record is not None
        self.follow(CredentialStatus(step.record.status), step.record.until_ms)

    @precondition(lambda self: self.record is not None)
    @rule(
        back=st.integers(0, 1),
        what=st.sampled_from(["refused", "leaked", "quiet", "exposed"]),
        count=st.integers(0, 9),
    )
    def observe(self, back: int, what: str, count: int):
        assert self.record is not None
        seen = observation(what, self.record.version - back, leaked=count, exposed=count, at_ms=self.now_ms)
        step = on_observation(self.record, seen, self.now_ms)
        if back:
            assert step == Step(), "it is about an earlier version"
        if self.record.state in ENDS:
            assert step == Step()
        self.take(step)

    @precondition(lambda self: self.record is not None)
    @rule(what=st.sampled_from(["attempt", "accepted", "given up", "read back"]))
    def deliver(self, what: str):
        record = self.record
        assert record is not None
        if what == "read back":
            self.take(lifecycle.on_read_back(record, "g", self.now_ms, refused=True))
        elif record.accepted_ms is None:
            self.take(
                {
                    "attempt": lambda: lifecycle.on_attempt(record, "g"),
                    "accepted": lambda: lifecycle.on_accepted(record, "g", self.now_ms),
                    "given up": lambda: lifecycle.on_given_up(record, "g", "500"),
                }[what]()
            )

    def ask(self, kind: type[acts.Act], by: str, **fields: Any) -> Answer:
        """Let a person act; each act leaves exactly one entry of its own."""
        self.number += 1
        asked = act(kind, self.number, by, **fields)
        before = self.record
        answer = on_act(self.book, asked, self.now_ms)
        entries = [d for part in answer.step.parts() for d in part.decisions if d.kind == "act"]
        assert [entry.details["act"] for entry in entries] == [asked.act]
        if answer.outcome in {"refused", "unchanged"}:
            assert len(answer.step.decisions) == 1
            assert answer.step.record is None
        self.take(answer.step)
        if answer.outcome in {"refused", "unchanged"}:
            assert self.record is before
        return answer

    @rule(revoke=st.booleans(), by=st.sampled_from(PEOPLE), ttl=st.sampled_from([None, MINUTE_MS]))
    def refuse(self, revoke: bool, by: str, ttl: int | None):
        wanted = CredentialStatus.REVOKED if revoke else CredentialStatus.SUSPENDED
        fields = {} if revoke else {"ttl_ms": ttl}
        kind: type[acts.Act] = acts.Revoke if revoke else acts.Suspend
        held = self.record.held if self.record else None
        answer = self.ask(kind, by, realm="gate", id="partner-1", **fields)
        if self.status is CredentialStatus.REVOKED:
            assert answer.outcome == ("unchanged" if revoke else "refused")
        elif self.protected and self.status is CredentialStatus.ACTIVE:
            self.agree(answer, by, fresh=held != "protected")
        else:
            assert answer.outcome == "done"
            assert answer.record is not None
            assert answer.record.status is wanted
            self.follow(wanted, answer.record.until_ms)
            self.version = answer.record.version

    def agree(self, answer: Answer, by: str, *, fresh: bool) -> None:
        """Follow an agreement: the second of two different people lets it go on."""
        if fresh:
            self.agreed = set()
        if by in self.agreed:
            assert answer.outcome == "unchanged"
        elif len(self.agreed) + 1 < (2 if self.protected else 1):
            assert answer.outcome == "held"
            self.agreed.add(by)
        else:
            assert answer.outcome == "done"
            assert answer.record is not None
            self.follow(answer.record.status, answer.record.until_ms)

    @precondition(lambda self: self.record is not None)
    @rule(by=st.sampled_from(PEOPLE), other=st.booleans())
    def approve(self, by: str, other: bool):
        assert self.record is not None
        state = self.record.state
        incident = "INC-9999" if other else self.record.incident
        answer = self.ask(acts.Approve, by, realm="gate", id="partner-1", incident=incident)
        if other:
            assert answer.outcome == "refused", "an approval never covers another incident"
        elif state == "held":
            self.agree(answer, by, fresh=False)
        else:
            assert answer.outcome in {"unchanged", "refused"}

    @rule(by=st.sampled_from(PEOPLE), grace=st.sampled_from([0, MINUTE_MS]))
    def reinstate(self, by: str, grace: int):
        answer = self.ask(acts.Reinstate, by, realm="gate", id="partner-1", grace_ms=grace)
        if self.status is not CredentialStatus.ACTIVE:
            assert answer.outcome == "done"
            assert self.record is not None
            assert self.record.restart_ms == self.now_ms, "nothing from before counts again"
            self.follow(CredentialStatus.ACTIVE)
            if grace:
                self.allowed_until_ms = self.now_ms + grace

    @rule(by=st.sampled_from(PEOPLE))
    def allow(self, by: str):
        answer = self.ask(acts.Allow, by, realm="gate", id="partner-1", for_ms=MINUTE_MS)
        assert (answer.outcome == "refused") == (self.status is not CredentialStatus.ACTIVE)
        if answer.outcome == "done":
            self.allowed_until_ms = self.now_ms + MINUTE_MS
            assert self.record is None or self.record.state != "held"
            self.agreed = set()

    @precondition(lambda self: self.record is not None)
    @rule(
        kind=st.sampled_from([acts.Acknowledge, acts.Qualify, acts.Dismiss, acts.Close]),
        by=st.sampled_from(PEOPLE),
        earlier=st.booleans(),
    )
    def on_incident(self, kind: type[acts.Act], by: str, earlier: bool):
        assert self.record is not None
        name = next(iter(self.book.earlier), self.record.incident) if earlier else self.record.incident
        fields = {acts.Qualify: {"qualified": "notifiable"}, acts.Close: {"verdict": "benign"}}.get(kind, {})
        state, current = self.record.state, name == self.record.incident
        answer = self.ask(kind, by, incident=name, **fields)
        if kind is acts.Dismiss:
            assert (answer.outcome == "done") == (state == "held" and current)
            if answer.outcome == "done":
                assert self.record.state == "dismissed"
                self.agreed = set()

    @rule(by=st.sampled_from(PEOPLE), pause=st.booleans())
    def pause(self, by: str, pause: bool):
        if pause:
            self.ask(acts.PauseAutomation, by, for_ms=MINUTE_MS)
            self.paused_until_ms = self.now_ms + MINUTE_MS
        else:
            self.ask(acts.ResumeAutomation, by)
            self.paused_until_ms = 0

    @rule(passed=st.sampled_from([1, 1000, MINUTE_MS, 24 * 60 * MINUTE_MS]))
    def tick(self, passed: int):
        self.now_ms += passed
        self.take(switches.on_tick(self.book, self.now_ms))
        if self.record is None:
            return
        since_ms = self.record.since_ms
        step = lifecycle.on_tick(self.book, self.record, self.now_ms)
        due = self.until_ms is not None and self.now_ms >= self.until_ms
        assert step.told == due
        self.take(step)
        if due:
            assert self.record.restart_ms == since_ms, "what the suspension answered counts no more"
            self.follow(CredentialStatus.ACTIVE)
        assert self.record.held != "paused" or self.paused_until_ms > self.now_ms


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)


def book_with(*steps: Step, **policy: Any) -> Casebook:
    """Return a casebook after steps."""
    book = Casebook(replace(POLICY, **policy))
    for step in steps:
        book.take(step)
    return book


def suspended(**changes: Any) -> tuple[Casebook, CredentialRecord]:
    """Return a casebook with a credential just suspended."""
    policy = {key: changes.pop(key) for key in ("delivers",) if key in changes}
    book = book_with(**policy)
    step = lifecycle.on_finding(book, finding(at_ms=START_MS, **changes), START_MS)
    book.take(step)
    return book, book.records[SUBJECT]


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({"action": "alert"}, "enforce", "alert_only"),
        ({"principal": None}, "enforce", "not_a_credential"),
        ({"mode": "shadow"}, "enforce", "shadow"),
        ({}, "shadow", "shadow"),
    ],
)
def test_a_finding_that_changes_nothing_says_why(changes: dict[str, Any], mode: str, reason: str):
    new = finding(**{"at_ms": START_MS, **changes})
    step = lifecycle.on_finding(book_with(mode=mode), new, START_MS)
    assert step == Step(step.decisions), "no record, no gateway, no status: nothing can follow"
    [entry] = step.decisions
    assert (entry.kind, entry.details["reason"], entry.details["finding"]) == (
        "suppressed",
        reason,
        new["id"],
    )
    assert entry.details["mode"] == ("shadow" if reason == "shadow" else "enforce")


def test_every_decision_says_who_why_and_by_which_event():
    book, record = suspended()
    step = lifecycle.on_finding(book, finding(2, action="revoke", at_ms=START_MS + 1), START_MS + 1)
    for entry in step.decisions:
        assert entry.details["by"] == "rule r-1"
        assert entry.details["event"]["offset"] == 2
        assert entry.details["incident"] == record.incident


def test_history_makes_one_hold_however_much_of_it_there_is():
    """A week of history refuses nobody, and gives one incident, which a fresh event lets go on."""
    book = book_with()
    for number in range(1, 200):
        old = finding(number, at_ms=START_MS - 16 * MINUTE_MS, stale=True)
        book.take(lifecycle.on_finding(book, old, START_MS))
    assert book.records[SUBJECT].state == "held"
    assert book.records[SUBJECT].version == 0
    assert book.position.incidents == 1
    step = lifecycle.on_finding(book, finding(500, at_ms=START_MS), START_MS)
    book.take(step)
    record = book.records[SUBJECT]
    assert (record.state, record.status, record.incident) == ("requested", "suspended", "INC-0001")


def test_a_stale_finding_makes_nothing_stronger():
    """A suspended credential is refused already; it is not revoked for old news."""
    book, _ = suspended()
    old = finding(2, action="revoke", at_ms=START_MS - 15 * MINUTE_MS - 1)
    step = lifecycle.on_finding(book, old, START_MS)
    assert (step.record, step.told) == (None, False)
    assert [d.details["reason"] for d in step.decisions] == ["stale"]


def test_what_is_held_does_not_drop_a_reinstatement_that_a_gateway_waits_for():
    """It has the same version, and is delivered on."""
    book, record = suspended(ttl_ms=1)
    book.take(lifecycle.on_tick(book, record, START_MS + 1))
    old = finding(2, at_ms=START_MS - 15 * MINUTE_MS - 1)
    book.take(lifecycle.on_finding(book, old, START_MS + 2))
    held = book.records[SUBJECT]
    assert (held.state, held.status, held.version, held.accepted_ms) == ("held", "active", 2, None)
    assert held.incident == "INC-0002"
    assert book.earlier["INC-0001"].state == "expired"


def test_revoke_upgrades_a_suspension_and_nothing_downgrades_it():
    book, first = suspended()
    later = finding(2, action="revoke", at_ms=START_MS + 1, patients=7)
    book.take(lifecycle.on_finding(book, later, START_MS + 1))
    revoked = book.records[SUBJECT]
    assert (revoked.status, revoked.version, revoked.until_ms) == (CredentialStatus.REVOKED, 2, None)
    assert revoked.webhook_id != first.webhook_id
    assert revoked.incident == first.incident, "one incident from its first refusal to its end"
    assert revoked.patients == first.patients, "what it exposed does not shrink"
    weaker = lifecycle.on_finding(book, finding(3, at_ms=START_MS + 2), START_MS + 2)
    assert [d.details["reason"] for d in weaker.decisions] == ["already_refused"]
    assert lifecycle.on_tick(book, revoked, START_MS + 10**12) == Step(), "it ends only by a person"


def test_proof_is_a_refusal_or_the_gateways_word_and_silence_is_neither():
    book, record = suspended()
    quiet = on_observation(record, observation("quiet", 1), START_MS + 5).record
    assert quiet is not None
    assert (quiet.state, quiet.proof, quiet.enforced_ms) == ("quiet", None, None)
    leaking = on_observation(quiet, observation("leaked", 1, leaked=1), START_MS + 6).record
    assert leaking is not None
    assert leaking.state == "accepted", "it was quiet, and is not"
    told = lifecycle.on_read_back(record, "kong", START_MS + 7, refused=True).record
    assert told is not None
    assert (told.state, told.proof, told.enforced_ms) == ("enforced", "read_back", START_MS + 7)
    book.take(Step(record=told))
    seen = on_observation(told, observation("refused", 1), START_MS + 8).record
    assert seen is not None
    assert (seen.proof, seen.enforced_ms) == ("refused", START_MS + 7)


def test_a_refusal_proves_a_delivery_that_failed():
    _, record = suspended()
    failed = lifecycle.on_given_up(record, "webhook-0", "500").record
    assert failed is not None
    assert failed.state == "failed"
    step = on_observation(failed, observation("refused", 1), START_MS + 5)
    assert step.record is not None
    assert (step.record.state, step.record.enforced_ms) == ("enforced", START_MS + 5)


def test_a_finding_after_a_failed_delivery_has_the_gateway_told_again():
    book, record = suspended()
    book.take(lifecycle.on_given_up(record, "webhook-0", "500"))
    step = lifecycle.on_finding(book, finding(2, at_ms=START_MS + 9), START_MS + 9)
    assert step.told
    book.take(step)
    again = book.records[SUBJECT]
    assert (again.state, again.version, again.webhook_id) == ("requested", 1, record.webhook_id)


def test_an_expired_suspension_is_delivered_only_where_somebody_is_told():
    for delivers, accepted in ((True, None), (False, START_MS + 1)):
        book, record = suspended(ttl_ms=1, delivers=delivers)
        ended = lifecycle.on_tick(book, record, START_MS + 1).record
        assert ended is not None
        assert (ended.state, ended.accepted_ms) == ("expired", accepted)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "dismissed"},
        {"version": 0},
        {"state": "expired"},
        {"status": CredentialStatus.REVOKED},
        {"incident": "INC-0099"},
        {"held": "fuse"},
        {"until_ms": None},
    ],
)
def test_no_other_step_can_be_made(changes: dict[str, Any]):
    """The book takes none of them: the enforcer ends before anything of it is durable."""

    book, record = suspended()
    wrong = changed(record, **changes)
    with pytest.raises(InvariantError, match="INC-00"):
        check(record, wrong)
    with pytest.raises(InvariantError):
        book.take(Step(record=wrong))
    assert book.records[SUBJECT] == record


def test_the_id_of_a_call_differs_between_credentials_versions_and_findings():
    ids = {
        lifecycle.webhook_id(realm, principal, version, of)
        for realm in ("gate", "gate/x")
        for principal in ("a", "x/a")
        for version in (1, 2)
        for of in ("f1", "f2")
    }
    # Only ("gate", "x/a") and ("gate/x", "a") look alike, and no realm holds a slash.
    assert len(ids) == 12
