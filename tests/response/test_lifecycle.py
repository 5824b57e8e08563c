"""The life of a response: whatever happens in whatever order, it takes only legal steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from monitor.core.events import CredentialStatus
from monitor.response import lifecycle
from monitor.response.lifecycle import Policy, Step
from monitor.wire.credentials import CredentialRecord, decode_credential, encode
from tests.response.stage import finding, observation

if TYPE_CHECKING:
    from collections.abc import Callable

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
ENFORCE = Policy(mode="enforce", max_age_ms=15 * MINUTE_MS, default_ttl_ms=24 * 60 * MINUTE_MS, delivers=True)
SHADOW = Policy(mode="shadow", max_age_ms=15 * MINUTE_MS, default_ttl_ms=24 * 60 * MINUTE_MS, delivers=True)
QUIET = Policy(mode="enforce", max_age_ms=15 * MINUTE_MS, default_ttl_ms=24 * 60 * MINUTE_MS, delivers=False)

STRENGTH = {CredentialStatus.ACTIVE: 0, CredentialStatus.SUSPENDED: 1, CredentialStatus.REVOKED: 2}
#: Within one version; a new version begins at `requested`, `accepted` (nobody to tell) or `expired`.
LEGAL = {
    ("requested", "accepted"),
    ("requested", "enforced"),
    ("requested", "failed"),
    ("accepted", "enforced"),
    ("failed", "accepted"),
    ("failed", "enforced"),
}


class Life(RuleBasedStateMachine):
    """One credential, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = START_MS
        self.number = 0
        self.policy = ENFORCE
        self.record: CredentialRecord | None = None
        self.last: dict[str, Any] | None = None
        self.webhook_ids: dict[str, int] = {}
        self.enforced: list[int] = []

    @initialize(delivers=st.booleans())
    def begin(self, delivers: bool):
        self.policy = ENFORCE if delivers else QUIET

    def after(self, step: Step) -> None:
        """Take a step, having looked at whether it is a legal one."""
        old, new = self.record, step.record
        kinds = [decision.kind for decision in step.decisions]
        if new is None:
            assert not step.told
            assert set(kinds) <= {"suppressed", "failed"}
            return
        assert kinds, "nothing changes without an entry in the ledger"
        assert decode_credential(encode(new), "here") == new
        assert (new.until_ms is not None) == (new.status is CredentialStatus.SUSPENDED)
        if new.state == "held" and step.reopens:
            assert not step.told
            assert old is None or old.status is CredentialStatus.ACTIVE
            assert new.status is CredentialStatus.ACTIVE
            assert new.version == (old.version if old else 0) + 1
        elif old is None or new.status is not old.status:
            assert step.told
            assert new.version == (old.version if old else 0) + 1
            assert new.state in {"requested", "accepted", "expired"}
            assert (new.state == "expired") == (new.status is CredentialStatus.ACTIVE)
            assert new.leaked == 0 or new.state == "expired"
            assert new.webhook_id not in self.webhook_ids
            self.webhook_ids[new.webhook_id] = new.version
        else:
            assert not step.told
            assert new.version == old.version
            assert new.webhook_id == old.webhook_id
            assert new.state == old.state or (old.state, new.state) in LEGAL
            assert new.leaked >= old.leaked
            assert new.patients >= old.patients
        if "enforced" in kinds:
            assert new.version not in self.enforced, "proven once"
            self.enforced.append(new.version)
        if not self.policy.delivers and old is None:
            assert new.accepted_ms is not None
        self.record = new

    @rule(
        action=st.sampled_from(["alert", "suspend", "revoke"]),
        mode=st.sampled_from(["enforce", "enforce", "shadow"]),
        ttl=st.sampled_from([None, MINUTE_MS]),
        age=st.sampled_from([0, 1, 15 * MINUTE_MS, 15 * MINUTE_MS + 1]),
        shadow=st.booleans(),
    )
    def find(self, action: str, mode: str, ttl: int | None, age: int, shadow: bool):
        self.number += 1
        new = finding(self.number, action=action, mode=mode, ttl_ms=ttl, at_ms=self.now_ms - age)
        policy = SHADOW if shadow else self.policy
        step = lifecycle.on_finding(self.record, new, policy, f"INC-{self.number:04d}", self.now_ms)
        strength = STRENGTH[self.record.status] if self.record else 0
        wanted = {"alert": 0, "suspend": 1, "revoke": 2}[action]
        due = mode == "enforce" and not shadow and wanted > strength
        acts = due and age <= self.policy.max_age_ms
        held = due and not acts and strength == 0
        assert step.told == acts
        assert (step.record is not None) == (acts or held)
        assert step.reopens == held
        if held:
            assert [d.kind for d in step.decisions] == ["held"]
            self.last = new
        elif acts:
            assert step.decisions[0].kind == "requested"
            assert step.record is not None
            assert step.record.finding == new["id"]
            self.last = new
        else:
            assert [d.kind for d in step.decisions] == ["suppressed"]
        self.after(step)

    @precondition(lambda self: self.last is not None)
    @rule()
    def find_the_same_again(self):
        assert self.last is not None
        assert lifecycle.on_finding(self.record, self.last, self.policy, "INC-9999", self.now_ms) == Step()

    @precondition(lambda self: self.record is not None)
    @rule(back=st.integers(0, 2), what=st.sampled_from(["refused", "leaked"]), leaked=st.integers(0, 9))
    def observe(self, back: int, what: str, leaked: int):
        assert self.record is not None
        seen = observation(what, self.record.version - back, leaked=leaked, at_ms=self.now_ms)
        step = lifecycle.on_observation(self.record, seen, self.now_ms)
        if back:
            assert step == Step(), "it is about an earlier version"
        elif what == "refused" and self.record.status is not CredentialStatus.ACTIVE:
            assert (step.record is None) == (self.record.enforced_ms is not None)
        self.after(step)

    @precondition(lambda self: self.record is not None and self.record.accepted_ms is None)
    @rule(
        what=st.sampled_from(
            [
                lambda record, _now: lifecycle.on_attempt(record, "webhook-0"),
                lambda record, now: lifecycle.on_accepted(record, "webhook-0", now),
                lambda record, _now: lifecycle.on_given_up(record, "webhook-0", "500"),
            ]
        )
    )
    def deliver(self, what: Callable[[CredentialRecord, int], Step]):
        assert self.record is not None
        self.after(what(self.record, self.now_ms))

    @rule(passed=st.sampled_from([1, 1000, MINUTE_MS, 24 * 60 * MINUTE_MS]))
    def tick(self, passed: int):
        self.now_ms += passed
        if self.record is None:
            return
        step = lifecycle.on_tick(self.record, self.policy, self.now_ms)
        due = self.record.until_ms is not None and self.now_ms >= self.record.until_ms
        assert step.told == due
        self.after(step)
        assert self.record.until_ms is None or self.record.until_ms > self.now_ms


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)


def suspended(policy: Policy = ENFORCE, **changes: Any) -> CredentialRecord:
    """Return the record of a credential just suspended."""
    step = lifecycle.on_finding(None, finding(at_ms=START_MS, **changes), policy, "INC-0001", START_MS)
    assert step.record is not None
    return step.record


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({"action": "alert"}, ENFORCE, "alert_only"),
        ({"principal": None}, ENFORCE, "not_a_credential"),
        ({"mode": "shadow"}, ENFORCE, "shadow"),
        ({}, SHADOW, "shadow"),
    ],
)
def test_a_finding_that_changes_nothing_says_why(changes: dict[str, Any], policy: Policy, reason: str):
    new = finding(**{"at_ms": START_MS, **changes})
    step = lifecycle.on_finding(None, new, policy, "INC-0001", START_MS)
    assert (step.record, step.told) == (None, False)
    assert [(d.kind, d.details["reason"], d.details["finding"]) for d in step.decisions] == [
        ("suppressed", reason, new["id"])
    ]


def test_a_finding_of_old_events_is_held_and_has_detect_look_again():
    old = finding(at_ms=START_MS - 15 * MINUTE_MS - 1)
    step = lifecycle.on_finding(None, old, ENFORCE, "INC-0001", START_MS)
    assert [(d.kind, d.details["reason"]) for d in step.decisions] == [("held", "stale")]
    assert (step.told, step.reopens) == (False, True)
    held = step.record
    assert held is not None
    assert (held.status, held.state, held.until_ms) == (CredentialStatus.ACTIVE, "held", None)
    fresh = finding(2, at_ms=START_MS)
    again = lifecycle.on_finding(held, fresh, ENFORCE, "INC-0002", START_MS)
    assert again.record is not None
    assert (again.record.status, again.record.version) == (CredentialStatus.SUSPENDED, held.version + 1)


def test_a_stale_finding_makes_nothing_stronger():
    """A suspended credential is refused already; it is not revoked for old news."""
    old = finding(2, action="revoke", at_ms=START_MS - 15 * MINUTE_MS - 1)
    step = lifecycle.on_finding(suspended(), old, ENFORCE, "INC-0002", START_MS)
    assert (step.record, step.told, step.reopens) == (None, False, False)
    assert [d.details["reason"] for d in step.decisions] == ["stale"]


def test_what_is_held_does_not_drop_a_reinstatement_that_a_gateway_waits_for():
    """It takes its place, with the same status, and is delivered instead."""
    ended = lifecycle.on_tick(suspended(ttl_ms=1), ENFORCE, START_MS + 1).record
    assert ended is not None
    old = finding(2, at_ms=START_MS - 15 * MINUTE_MS - 1)
    held = lifecycle.on_finding(ended, old, ENFORCE, "INC-0002", START_MS + 2).record
    assert held is not None
    assert (held.status, held.version, held.accepted_ms) == (CredentialStatus.ACTIVE, 3, None)


def test_revoke_upgrades_a_suspension_and_nothing_downgrades_it():
    first = suspended()
    step = lifecycle.on_finding(
        first, finding(2, action="revoke", at_ms=START_MS + 1), ENFORCE, "INC-0002", START_MS + 1
    )
    revoked = step.record
    assert revoked is not None
    assert (revoked.status, revoked.version, revoked.until_ms) == (CredentialStatus.REVOKED, 2, None)
    assert revoked.webhook_id != first.webhook_id
    assert revoked.incident == first.incident, "one incident from its first refusal to its end"
    assert revoked.patients >= first.patients
    weaker = lifecycle.on_finding(revoked, finding(3, at_ms=START_MS + 2), ENFORCE, "INC-0003", START_MS + 2)
    assert [d.details["reason"] for d in weaker.decisions] == ["already_refused"]
    assert lifecycle.on_tick(revoked, ENFORCE, START_MS + 10**12) == Step()


def test_a_refusal_proves_a_delivery_that_failed():
    failed = lifecycle.on_given_up(suspended(), "webhook-0", "500").record
    assert failed is not None
    assert failed.state == "failed"
    step = lifecycle.on_observation(failed, observation("refused", 1), START_MS + 5)
    assert step.record is not None
    assert (step.record.state, step.record.enforced_ms) == ("enforced", START_MS + 5)


def test_an_expired_suspension_is_delivered_only_where_somebody_is_told():
    told = lifecycle.on_tick(suspended(ttl_ms=1), ENFORCE, START_MS + 1).record
    untold = lifecycle.on_tick(suspended(QUIET, ttl_ms=1), QUIET, START_MS + 1).record
    assert told is not None
    assert untold is not None
    assert (told.state, told.accepted_ms) == ("expired", None)
    assert (untold.state, untold.accepted_ms) == ("expired", START_MS + 1)


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
