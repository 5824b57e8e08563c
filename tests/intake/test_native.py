"""The native code gives the same bytes as Python, for whatever it is given."""

from __future__ import annotations

import random
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.events import FIELDS
from monitor.core.rules import AllOf, AnyOf, Condition, Match, Negation, Rule, RuleSet
from monitor.errors import RejectedRecordError
from monitor.intake.batch import PIECE_ROWS, PythonPacker
from monitor.intake.canonical import MAX_RECORD_BYTES, CanonicalFormat, decode
from monitor.intake.event import Event
from monitor.intake.handles import Sealer, new_handle_key
from monitor.intake.inputs import Input
from monitor.intake.keys import Epoch, Keys
from monitor.intake.native import NativePacker
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.intake.repeats import PythonRepeats, new_repeats
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.trial.reading import Block, Feed, Reader, Reading
from tests.intake.routing import Given, joined, same
from tests.rig.native import native

KEYS = Keys(bytes(range(32)), (Epoch("k1", b"p" * 32),), Sealer("h1", new_handle_key()[1]))
PERSON = credential_pseudonyms(KEYS.credential_key)("r/alice")
CLASSES = {"r/p1": "bulk-sync", f"r/{PERSON}": "night-shift", "gate/alice": "named"}

odd = st.sampled_from(
    ["", "ä", "Müller", "a b", "x\x7f", "\u200b", "\u00ad", "日本", "😀", 'quo"te', "a\\b", "l\n"]
)
texts = st.sampled_from(["a", "b", "practice-1", "p1", "alice"]) | odd | st.text(max_size=8)
long_texts = texts | st.integers(2040, 2060).map("x".__mul__)
addresses = st.sampled_from(
    [
        "192.0.2.1",
        "192.0.2.1:80",
        "010.0.0.1",
        "1.2.3",
        "256.1.1.1",
        "1.2.3.4.",
        "1.2.3.0004",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "[2001:db8:0:1::7]:443",
        "fe80::1%eth0",
        "unknown",
        "1..2.3",
        "255.255.255.255",
        "0.0.0.0",
        "1.2.3.4.5",
    ]
)
times = st.sampled_from(
    [
        "2026-03-01T09:00:00Z",
        "2026-03-01T09:00:00.25+01:00",
        "2024-02-29T23:59:59.999999-23:59",
        "2023-02-29T00:00:00Z",
        "2026-03-01t09:00:00z",
        "2026-03-01T09:00:60Z",
        "2026-03-01T09:00:00",
        "1999-12-31T23:59:59Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T09:00:00.1234567Z",
    ]
)
counts = st.sampled_from(
    [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**53, 2**53 + 1, -1, 1.0, True, "5"]
)
kinds = st.sampled_from(["api_key", "oauth_client", "session", "account", None])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


pairs = st.fixed_dictionaries({"patient": texts}, optional={"tenant": maybe(texts)})
documents = st.fixed_dictionaries(
    {
        "time": st.sampled_from([1_772_359_200_250, 946_684_800_000, 946_684_799_999, 253_402_300_800_000])
        | times,
        "status": st.sampled_from([200, 204, 299, 300, 401, 403, 404, 0, 999, 1000, 200.0]),
    },
    optional={
        "id": maybe(texts),
        "principal": maybe(long_texts),
        "principal_kind": kinds | st.just("other"),
        "authenticated": maybe(st.booleans()),
        "realm": maybe(st.sampled_from(["r", "gate", "", "with/slash", "x" * 64, "x" * 65, "ä"])),
        "object": maybe(long_texts),
        "patient": maybe(texts),
        "tenant": maybe(long_texts),
        "patients": maybe(st.lists(pairs, max_size=4)),
        "client_ip": maybe(addresses),
        "method": maybe(texts),
        "route": maybe(long_texts),
        "path": maybe(texts),
        "bytes": maybe(counts),
        "records": maybe(counts),
        "gateway": maybe(texts),
        "number": maybe(counts),
        "more": st.just(1),
    },
)
#: Most fields of most records are as they should be, so that many come through.
good = st.fixed_dictionaries(
    {"time": st.just(1_772_359_200_250) | times, "status": st.sampled_from([200, 200, 200, 401, 404])},
    optional={
        "id": texts,
        "principal": st.sampled_from(["p1", "p2", "alice", "Müller"]),
        "authenticated": st.just(True),
        "principal_kind": kinds,
        "realm": st.sampled_from(["r", "gate"]),
        "object": texts,
        "patients": st.lists(pairs, max_size=5),
        "tenant": st.sampled_from(["practice-1", "practice-2", "Zürich"]),
        "client_ip": addresses,
        "route": st.sampled_from(["/a/{id}", "/b"]),
        "bytes": st.integers(0, 2**53),
        "records": st.integers(0, 200),
        "gateway": st.sampled_from(["gw-1", "gw-2"]),
        "number": st.integers(0, 2**40),
    },
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A document, written as some writer might, or broken."""
    document = draw(documents | good)
    if document.get("principal") and draw(st.booleans()):
        document["authenticated"] = True
    plain = orjson.dumps(document)
    match draw(st.integers(0, 9)):
        case 0:
            return orjson.dumps(document, option=orjson.OPT_INDENT_2)
        case 1:
            at = draw(st.integers(0, len(plain)))
            return plain[:at]
        case 2:
            at = draw(st.integers(0, len(plain)))
            return plain[:at] + draw(st.binary(max_size=3)) + plain[at + draw(st.integers(0, 2)) :]
        case 3:
            return draw(st.binary(max_size=20))
        case 4:
            return plain[:-1] + b',"route":"again"}'
        case _:
            return plain


def leaves() -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.sampled_from([200, 401]).map(lambda status: Match("status", "eq", status)),
        st.sampled_from(["patient", "object", "principal", "tenant", "client_ip"]).map(
            lambda field: Match(field, "exists", value=True)
        ),
        st.just(Match("records", "gte", 5)),
        st.just(Match("tenant", "startswith", "practice")),
        st.just(Match("object", "re", "^k1:[0-7]")),
        st.just(Match("route", "eq", "/A/{id}")),
        st.just(Match("client_ip", "cidr", "192.0.2.0/24")),
        st.just(Match("time", "lt", 1_772_359_200_251)),
        st.just(AllOf(())),
    )


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    rules = []
    for axis in draw(st.sets(st.sampled_from(sorted(FIELDS)))):
        for number in range(draw(st.integers(1, 2))):
            parts = tuple(draw(st.lists(leaves(), min_size=1, max_size=3)))
            several: list[Condition] = [AllOf(parts), AnyOf(parts), Negation(parts[0])]
            condition = draw(st.sampled_from(several))
            rules.append(Rule(f"{axis}-{number}", axis, "event_count", condition, (axis,), 60_000, 1))
    return RuleSet(tuple(rules), classes=draw(st.sampled_from([{}, CLASSES])))


class Source(Given):
    """A source as intake reads it, and what is refused of it."""

    def __init__(self, *, trust_ids: bool, native: bool) -> None:
        super().__init__()
        self.decode = CanonicalFormat().decoder("gate", trust_ids=trust_ids)  # type: ignore[method-assign]
        self.repeats = new_repeats() if native else PythonRepeats()
        self.refused: list[tuple[int, str, str]] = []

    def events(self, record: Any) -> Any:
        try:
            if record.offset in self.left_out:
                raise RejectedRecordError("fatal", "left out")
            return self.decode(record.value)
        except Exception as error:  # noqa: BLE001 - as intake does
            self.failed(record, error)
            return None

    def failed(self, record: Any, error: Exception) -> None:
        told = (error.reason, error.detail) if isinstance(error, RejectedRecordError) else ("", repr(error))
        self.refused.append((record.offset, *told))


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(records(), max_size=12),
    rule_sets(),
    st.booleans(),
    st.integers(1, 5),
    st.sets(st.integers(7, 18)),
)
def test_records_give_the_same_rows_and_refusals(
    values: list[bytes], rule_set: RuleSet, trust_ids: bool, partitions: int, left_out: set[int]
) -> None:
    native(engine.router)
    router = EventRouter(rule_set, KEYS, partitions, compile_pattern)
    taken: Any = [SimpleNamespace(offset=offset, value=value) for offset, value in enumerate(values, 7)]
    ours, theirs = Source(trust_ids=trust_ids, native=True), Source(trust_ids=trust_ids, native=False)
    for source in (ours, theirs):
        source.left_out = left_out
    packers = NativePacker(router), PythonPacker(router)
    for _ in range(2):  # with cold and with warm caches
        same(*packers, taken, (ours, theirs))
    assert ours.refused == theirs.refused


surrogates = st.sampled_from(["\ud800", "a\udfff"])
made_texts = maybe(texts | surrogates)
made_numbers = maybe(st.sampled_from([0, -1, -33, -129, -(2**31), 2**63 - 1, 2**63, 2**64, 200, True]))
events = st.builds(
    Event,
    st.sampled_from([0, -1, 1_772_359_200_250, 2**62]),
    st.sampled_from(["r", "gate", "r\0", ""]),
    st.sampled_from([200, 299, 300, 401, -200]),
    made_texts,
    made_texts,
    kinds | st.sampled_from(["", "api_key\0"]),
    made_texts,
    st.lists(st.tuples(texts, maybe(texts)), max_size=5, unique=True).map(tuple),
    made_texts,
    maybe(addresses | surrogates),
    made_texts,
    made_texts,
    made_numbers,
    made_numbers,
    made_texts,
    made_texts,
    made_numbers,
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.lists(events, max_size=3), max_size=6), rule_sets(), st.integers(1, 5))
def test_events_of_any_format_give_the_same_rows(
    batches: list[list[Event]], rule_set: RuleSet, partitions: int
) -> None:
    native(engine.router)
    router = EventRouter(rule_set, KEYS, partitions, compile_pattern)
    # One source offset after the other: Python packs all rows of a slice at once, and fails with all of them.
    for offset, batch in enumerate(batches):
        record: Any = SimpleNamespace(offset=offset, value=b"", given=tuple(batch))
        ours, theirs = Given(), Given()
        theirs.repeats = PythonRepeats()
        try:
            expected = PythonPacker(router).take([record], theirs)
        except (UnicodeEncodeError, OverflowError):
            NativePacker(router).take([record], ours)
            assert len(ours.errors) == 1
            continue
        taken = NativePacker(router).take([record], ours)
        assert joined(taken.pieces) == joined(expected.pieces)
        assert taken[1:] == expected[1:]
        assert [offset for offset, _ in ours.errors] == [offset for offset, _ in theirs.errors]


def fields_of(event: Event) -> list[Any]:
    return [getattr(event, name) for name in Event.__struct_fields__]


def decoded_natively(value: bytes, *, trust_ids: bool = True, limit: int = MAX_RECORD_BYTES) -> bool:
    """Check what is read of a record; return whether the native code read it."""
    found = native(engine.router).probe_canonical(value, "gate", trust_ids, limit)
    if found is not None:
        (event,) = decode("gate", value, trust_ids=trust_ids, limit=limit)
        assert found == fields_of(event)
    return found is not None


@settings(max_examples=2000)
@given(records() | st.binary(max_size=60), st.booleans())
def test_what_is_read_natively_is_what_python_reads(value: bytes, trust_ids: bool) -> None:
    decoded_natively(value, trust_ids=trust_ids)


def test_any_damage_to_a_record_is_noticed() -> None:
    """Each byte replaced, left out or doubled, by bytes that mean something in JSON or in UTF-8."""
    document = {"time": "2026-03-01T09:00:00.25Z", "status": 200, "principal": "Zoë", "authenticated": True}
    document |= {"patients": [{"patient": "日", "tenant": None}, {"patient": "b"}], "bytes": 17, "id": "x"}
    plain = orjson.dumps(document)
    assert decoded_natively(plain)
    for at in range(len(plain)):
        for byte in b'"\\{}[],:0-.eEntf \n\x00\x1f\x7f\x80\xc0\xc3\xe0\xed\xf0\xf4\xff':
            decoded_natively(plain[:at] + bytes([byte]) + plain[at + 1 :])
            decoded_natively(plain[:at] + bytes([byte]) + plain[at:])
        decoded_natively(plain[:at] + plain[at + 1 :])
        decoded_natively(plain[:at])


def test_characters_that_are_kept_are_those_that_python_prints() -> None:
    for code in [*range(0x20, 0x3000), 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF]:
        value = orjson.dumps({"time": 1_772_359_200_250, "status": 200, "tenant": f"a{chr(code)}"})
        assert decoded_natively(value) == (0x20 <= code < 0x7F or 0xA1 <= code < 0x250) & (
            chr(code) not in '"\\\xad'
        )


@settings(max_examples=1000)
@given(
    st.datetimes().map(lambda time: time.isoformat())
    | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?\Z"),
    st.sampled_from(
        ["Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+01:60", "+0100", " Z"]
    ),
)
def test_times_are_read_as_python_reads_them(written: str, zone: str) -> None:
    decoded_natively(orjson.dumps({"time": written + zone, "status": 200}))


@pytest.mark.parametrize("zone", ["Z", "+00:00", "-05:30", "+23:59"])
@pytest.mark.parametrize("fraction", ["", ".5", ".123", ".999999", ".000001"])
def test_common_times_are_read_natively_on_every_day(zone: str, fraction: str) -> None:
    rng = random.Random(1)
    for year in (2000, 2024, 2025, 2026, 2100, 9998):
        for month in range(1, 13):
            for day in (2, 27, 28, rng.randrange(1, 29)):
                value = {"time": f"{year}-{month:02}-{day:02}T12:34:56{fraction}{zone}", "status": 200}
                assert decoded_natively(orjson.dumps(value))


def test_a_record_of_more_bytes_than_the_source_takes_is_for_python() -> None:
    value = orjson.dumps({"time": 1_772_359_200_250, "status": 200})
    assert decoded_natively(value, limit=len(value))
    assert not decoded_natively(value, limit=len(value) - 1)


def test_rows_come_in_pieces_that_end_with_a_source_offset() -> None:
    native(engine.router)
    axes = ("patient", "principal")
    rule_set = RuleSet(tuple(Rule(a, a, "event_count", AllOf(()), (a,), 60_000, 1) for a in axes))
    router = EventRouter(rule_set, KEYS, 2, compile_pattern)
    sizes = [1, 100, 200, 600, 1, 1, 149, 3]
    batches = [
        Event(5, "r", 200, principal="p", patients=tuple((f"{place}-{n}", None) for n in range(size)))
        for place, size in enumerate(sizes)
    ]
    taken: Any = [
        SimpleNamespace(offset=offset, value=b"", given=(event,)) for offset, event in enumerate(batches)
    ]
    found = NativePacker(router).take(taken, Given())
    expected = PythonPacker(router).take(taken, Given())
    assert joined(found.pieces) == joined(expected.pieces)
    # Only what one offset alone has is more than a piece holds.
    for piece in found.pieces:
        assert piece.rows <= PIECE_ROWS or sizes[piece.last] > PIECE_ROWS


def test_a_failure_of_python_is_one_records() -> None:
    native(engine.router)

    @lru_cache
    def failing(_: str) -> Any:
        def test(value: str) -> bool:
            if value == "bad":
                raise RuntimeError
            return True

        return test

    rule = Rule("t", "t", "event_count", Match("object", "re", "x"), ("method",), 60_000, 1)
    tested = Rule("u", "u", "event_count", Match("tenant", "re", "x"), ("method",), 60_000, 1)
    router = EventRouter(RuleSet((rule, tested)), KEYS, 1, failing)
    taken: Any = [
        SimpleNamespace(offset=offset, value=b"", given=(Event(5, "r", 200, tenant=tenant, method="GET"),))
        for offset, tenant in enumerate(["a", "bad", "c"])
    ]
    ours, theirs = Given(), Given()
    same(NativePacker(router), PythonPacker(router), taken, (ours, theirs))
    assert [offset for offset, _ in ours.errors] == [offset for offset, _ in theirs.errors] == [1]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(records().filter(lambda value: b"\n" not in value), max_size=12),
    rule_sets(),
    st.integers(1, 3),
    st.none()
    | st.lists(st.sampled_from([5, 1_772_359_200_250, 1_772_359_300_000]), min_size=12, max_size=12),
    st.sampled_from([0, 1_772_359_200_250, 253_402_300_800_000]),
)
def test_a_log_gives_the_same_rows_times_and_numbers(
    values: list[bytes], rule_set: RuleSet, shards: int, taken: list[int] | None, latest_ms: int
) -> None:
    native(engine.router)
    feed = Feed.of_file(0, "log", Input("canonical", "gate"))
    reading = Reading((feed,), rule_set, KEYS, latest_ms)
    data: Any = b"\n".join(values) + b"\n"
    if taken is not None:
        data = [(at, at_ms, value, ()) for at, (at_ms, value) in enumerate(zip(taken, values, strict=False))]
    block = Block(0, 1, data)
    reader = Reader(reading, shards)
    tally, pieces = reader.read(block)
    reader._native = None
    expected_tally, expected = reader.read(block)
    assert tally == expected_tally
    packed = [[bytes(row) for row in piece.rows] for piece in pieces]
    assert packed == [[msgspec.msgpack.encode(row) for row in piece.rows] for piece in expected]
    assert [piece._replace(rows=[]) for piece in pieces] == [piece._replace(rows=[]) for piece in expected]
