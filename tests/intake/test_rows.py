"""Events become rows: who gets one, what is in it, and what never is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import engine
from monitor.core import events as row
from monitor.core.events import EVENT_LENGTH, FIELDS, Row, RowKind
from monitor.core.evidence import row_evidence
from monitor.core.rules import AllOf, AnyOf, Condition, Match, Negation, Rule, RuleSet
from monitor.intake.event import Event
from monitor.intake.keys import Epoch, Keys
from monitor.intake.pseudonym import Pseudonyms, credential_pseudonyms
from monitor.intake.rows import compares_client_ip, network_of
from monitor.rulebook import compile_pattern
from tests.intake.routing import IMPLEMENTATIONS, Routing
from tests.rig.native import native

KEYS = Keys(bytes(range(32)), (Epoch("k1", b"p" * 32),))
PSEUDONYMS = Pseudonyms.newest(KEYS)
PARTITIONS = 8
BOTH = ("patient", "principal")


_implementation = "python"


@pytest.fixture(scope="module", autouse=True, params=sorted(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> None:
    """Run every test of this module by both implementations."""
    global _implementation  # noqa: PLW0603 - hypothesis wants fixtures of a module only
    if request.param == "native":
        native(engine.router)
    _implementation = request.param


def routing(*arguments: Any) -> Routing:
    return Routing(_implementation, *arguments)


def rows(event: Event, axes: tuple[str, ...] = BOTH, *, keep: bool = False) -> list[tuple[int, Row]]:
    return routing(counting(axes, keep=keep), KEYS, PARTITIONS, compile_pattern).route((event,), 42)


def counting(axes: tuple[str, ...], *, keep: bool = False) -> RuleSet:
    """Return rules that count everything on some axes; one of them compares addresses to `keep` them."""
    rules = [Rule(axis, axis, "event_count", AllOf(()), (axis,), 60_000, 1) for axis in axes]
    if keep:
        condition = AnyOf((AllOf(()), Match("client_ip", "cidr", "192.0.2.0/24")))
        rules.append(Rule("ip", "ip", "event_count", condition, (axes[0],), 60_000, 1))
    return RuleSet(tuple(rules))


def event(**fields: Any) -> Event:
    given: dict[str, Any] = {"time_ms": 5, "realm": "r", "status": 200, "principal": "p"} | fields
    return Event(**given)


def test_a_read_gives_a_row_for_the_credential_and_one_for_each_patient() -> None:
    routed = rows(event(patients=(("a", "x"), ("b", None), ("a", "y")), object="o", tenant="t"))
    assert [(line[row.AXIS], line[row.SUBJECT]) for _, line in routed] == [
        ("principal", "r/p"),
        ("patient", PSEUDONYMS.patient("a")),
        ("patient", PSEUDONYMS.patient("b")),
    ]
    own, first, second = (line for _, line in routed)
    a, b = PSEUDONYMS.patient("a"), PSEUDONYMS.patient("b")
    assert own[row.PATIENTS] == ((a, "x"), (b, None), (a, "y"))
    assert first[row.PATIENTS] == ((a, "x"), (a, "y"))
    assert second[row.PATIENTS] == ((b, None),)
    for line in (own, first, second):
        assert (line[row.OFFSET], line[row.KIND], line[row.TIME]) == (42, RowKind.EVENT, 5)
        assert (line[row.REALM], line[row.PRINCIPAL], line[row.TENANT]) == ("r", "p", "t")
        assert line[row.OBJECT] == PSEUDONYMS.object("o")
    assert routed[0][0] == KEYS.partition("principal", "r/p", PARTITIONS)
    assert routed[1][0] == KEYS.partition("patient", "a", PARTITIONS)


def test_beside_the_credentials_only_rows_that_a_rule_counts_are_sent() -> None:
    failed = Rule("f", "f", "event_count", Match("status", "gte", 400), ("client_ip",), 60_000, 1)
    router = routing(RuleSet((failed,)), KEYS, PARTITIONS, compile_pattern)
    served, refused = (event(status=status, client_ip="192.0.2.1") for status in (200, 403))
    assert [line[row.AXIS] for _, line in router.route((served,), 1)] == ["principal"]
    assert [line[row.AXIS] for _, line in router.route((refused,), 1)] == ["principal", "client_ip"]


def test_the_directory_names_a_person_by_pseudonym() -> None:
    person = credential_pseudonyms(KEYS.credential_key)("r/alice")
    rule_set = RuleSet(counting(("principal",)).rules, classes={f"r/{person}": "night-shift"})
    router = routing(rule_set, KEYS, PARTITIONS, compile_pattern)
    for kind, expected in (("account", "night-shift"), ("api_key", "partner")):
        ((_, line),) = router.route((event(principal="alice", principal_kind=kind),), 1)
        assert line[row.PRINCIPAL_CLASS] == expected


def test_a_credential_has_the_class_of_the_directory_or_of_its_kind() -> None:
    rule_set = RuleSet(counting(("principal", "principal_class")).rules, classes={"r/p": "bulk-sync"})
    router = routing(rule_set, KEYS, PARTITIONS, compile_pattern)

    def classes(**fields: Any) -> list[tuple[str, str]]:
        routed = router.route((event(**fields),), 1)
        return [(line[row.SUBJECT], line[row.PRINCIPAL_CLASS]) for _, line in routed]

    assert classes() == [("r/p", "bulk-sync"), ("bulk-sync", "bulk-sync")]
    person = credential_pseudonyms(KEYS.credential_key)("r/q")
    assert classes(principal="q", principal_kind="account") == [
        (f"r/{person}", "account"),
        ("account", "account"),
    ]
    assert classes(principal="q", principal_kind="api_key")[0] == ("r/q", "partner")
    assert classes(principal=None) == []


def test_the_category_of_a_route_is_a_column_that_rules_count_by() -> None:
    documents = Rule("d", "d", "event_count", Match("category", "eq", "documents"), ("tenant",), 60_000, 1)
    router = routing(RuleSet((documents,)), KEYS, PARTITIONS, compile_pattern)
    for category, axes in (
        ("documents", ["principal", "tenant"]),
        ("letters", ["principal"]),
        (None, ["principal"]),
    ):
        routed = router.route((event(category=category, tenant="t"),), 1)
        assert [line[row.AXIS] for _, line in routed] == axes
        assert {line[row.CATEGORY] for _, line in routed} == {category}


def test_evidence_names_the_category_of_what_was_read() -> None:
    ((_, line),) = routing(RuleSet(()), KEYS, PARTITIONS, compile_pattern).route(
        (event(category="documents", patients=(("a", "x"), ("b", None)), tenant="t", route="/d/{id}"),), 3
    )
    a, b = PSEUDONYMS.patient("a"), PSEUDONYMS.patient("b")
    read = [(a, "x", "documents"), (b, "t", "documents")]
    assert row_evidence(line) == ("principal", "r/p", 3, "/d/{id}", read)


def test_who_was_not_authenticated_or_not_served_makes_no_patient_row() -> None:
    patients = (("a", None),)
    assert rows(event(principal=None, patients=patients)) == []
    for status in (0, 199, 300, 403, 404, 500):
        ((_, line),) = rows(event(status=status, patients=patients))
        assert line[row.AXIS] == "principal"
        assert line[row.PATIENTS], "what was asked for still counts for the credential"
    assert len(rows(event(status=299, patients=patients))) == 2


def test_no_patient_rows_where_no_rule_is_about_patients() -> None:
    assert len(rows(event(patients=(("a", None),)), ("principal",))) == 1
    assert len(rows(event(), ())) == 1, "incidents follow the credential whatever the rules are"


def test_other_axes_ride_along() -> None:
    axes = ("client_ip", "gateway", "object", "principal", "tenant")
    busy = event(
        client_ip="192.0.2.1:4711",
        gateway="g",
        object="o",
        tenant="t",
        patients=(("a", "x"), ("b", "t")),
    )
    subjects = [(line[row.AXIS], line[row.SUBJECT]) for _, line in rows(busy, axes)]
    assert subjects == [
        ("principal", "r/p"),
        ("client_ip", PSEUDONYMS.client_ip("192.0.2.1")),
        ("gateway", "g"),
        ("object", PSEUDONYMS.object("o")),
        ("tenant", "t"),
        ("tenant", "x"),
    ]
    of_tenant = [line[row.PATIENTS] for _, line in rows(busy, ("tenant",))[1:]]
    assert of_tenant == [((PSEUDONYMS.patient("b"), "t"),), ((PSEUDONYMS.patient("a"), "x"),)]


def test_made_up_subjects_of_failed_requests_get_no_rows() -> None:
    failed = event(principal=None, status=401, client_ip="192.0.2.1", object="o", tenant="t")
    axes = ("client_ip", "object", "principal", "tenant")
    assert [line[row.AXIS] for _, line in rows(failed, axes)] == ["client_ip"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("[2001:db8:1:2::6]:443", "2001:db8:1:2::"),
        ("2001:db8:1:2::6%eth0", "2001:db8:1:2::"),
        ("::1", "::"),
        ("10.0.0.1, 10.0.0.2", None),
        ("unknown", None),
        ("", None),
        ("1.2.3.4.5", None),
    ],
)
def test_addresses(text: str, expected: str | None) -> None:
    assert network_of(text) == expected


def test_addresses_are_pseudonyms_unless_a_rule_compares_them() -> None:
    seen = event(client_ip="2001:db8:1:2:3:4:5:6")
    network = "2001:db8:1:2::"
    ((_, line),) = rows(seen)
    assert line[row.CLIENT_IP] == PSEUDONYMS.client_ip(network)
    (_, kept), (_, axis) = rows(seen, ("client_ip",), keep=True)
    assert kept[row.CLIENT_IP] == network
    assert axis[row.SUBJECT] == PSEUDONYMS.client_ip(network), "a subject is shown to people"

    inside = Match("client_ip", "cidr", "10.0.0.0/8")
    for condition, expected in (
        (inside, True),
        (AllOf((Match("status", "eq", 200), AnyOf((Negation(inside),)))), True),
        (Match("client_ip", "exists", value=True), False),
        (Match("status", "eq", 200), False),
    ):
        assert compares_client_ip(rule_set(condition)) is expected


def rule_set(condition: Condition) -> RuleSet:
    return RuleSet((Rule("i", "t", "event_count", condition, ("principal",), 1000, 1),))


texts = st.none() | st.sampled_from(["a", "b", "RAW-1", "RAW-2"])
events_ = st.builds(
    Event,
    time_ms=st.integers(0, 10**13),
    realm=st.sampled_from(["r", "s"]),
    status=st.sampled_from([200, 204, 401, 403, 404]),
    principal=st.none() | st.sampled_from(["p", "q/x"]),
    object=texts.map(lambda text: text and f"RAW-object-{text}"),
    patients=st.lists(
        st.tuples(st.sampled_from(["RAW-a", "RAW-b", "RAW-c"]), st.sampled_from([None, "t"])),
        max_size=4,
        unique=True,
    ).map(tuple),
    tenant=st.none() | st.just("t"),
    client_ip=st.none() | st.sampled_from(["198.51.100.77", "RAW"]),
    route=st.none() | st.just("/x/{id}"),
)


@given(st.lists(events_, max_size=4), st.sets(st.sampled_from(sorted(FIELDS))), st.integers(1, 16))
def test_every_row_is_well_formed_and_holds_nothing_raw(
    decoded: list[Event], axes: set[str], partitions: int
) -> None:
    router = routing(counting(tuple(axes)), KEYS, partitions, compile_pattern)
    routed = router.route(decoded, 7)
    home: dict[tuple[str, str], int] = {}
    for partition, line in routed:
        assert len(line) == EVENT_LENGTH
        assert 0 <= partition < partitions
        assert (line[row.OFFSET], line[row.KIND]) == (7, RowKind.EVENT)
        assert line[row.AXIS] in axes | {"principal"}
        assert isinstance(line[row.SUBJECT], str)
        assert line[row.SUBJECT]
        key = (line[row.AXIS], line[row.SUBJECT])
        assert home.setdefault(key, partition) == partition, "one subject, one partition"
        if line[row.AXIS] == "patient":
            assert line[row.PRINCIPAL] is not None
            assert 200 <= line[row.STATUS] < 300
            assert {patient for patient, _ in line[row.PATIENTS]} == {line[row.SUBJECT]}
        if line[row.AXIS] == "principal":
            assert line[row.SUBJECT] == f"{line[row.REALM]}/{line[row.PRINCIPAL]}"
    encoded = msgspec.msgpack.encode(routed)
    assert b"RAW" not in encoded
    assert b"198.51.100.77" not in encoded
    assert msgspec.msgpack.encode(router.route(decoded, 7)) == encoded
