"""The short way of flat records comes to what the general way comes to, whatever the bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.errors import RejectedRecordError
from monitor.intake.formats import FORMATS
from monitor.intake.formats.declared import DeclaredFormat
from monitor.intake.formats.flat import Flat
from monitor.intake.formats.remembered import Remembered
from monitor.intake.values import MAX_TIME_MS, MIN_TIME_MS, quick_rfc3339, rfc3339
from tests.formats.samples import NAMES, ROUTES, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.intake.event import Event
    from monitor.intake.formats.declared import Decoder

FLAT: Final = {
    name: form
    for name in NAMES
    if isinstance(form := FORMATS[name], DeclaredFormat) and Flat.of(form.spec) is not None
}
SLOTS: Final = {name: set(flat.slots) for name, form in FLAT.items() if (flat := Flat.of(form.spec))}
SHORT: Final = {name: form.decoder("r", trust_ids=True, match=ROUTES) for name, form in FLAT.items()}
GENERAL: Final = {
    name: super(DeclaredFormat, form).decoder("r", trust_ids=True, match=ROUTES)
    for name, form in FLAT.items()
}

values: st.SearchStrategy[str] = (
    st.sampled_from(
        [
            *("null", "true", "false", "0", "-0", "-0.0", "1", "-1", "200", "200.0", "2e2", "1e400", "01", "1.", "NaN"),
            *("9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809"),
            *("1772359200250", "1772359200.250", '"1772359200.250"', '"-"', '""', '"true"', '"\\ud800"', '"\\u0000"'),
            *('"\\ud83d\\ude00"', '"a\nb"', '"\x1b[2J"', '"a,b"', '"a\\u002cb"', "[]", "{}", '["a"]', '{"a":1}', "tru"),
            *('"2026-03-01T10:00:00Z"', '"2026-03-01T10:00:00.1Z"', '"2026-03-01 10:00:00.100+01:00"', '"' + "x" * 3000 + '"'),
        ]
    )
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.text(max_size=8).map(lambda text: orjson.dumps(text).decode())
)  # fmt: skip


def outcome(decode: Decoder, value: bytes) -> tuple[str, str] | Sequence[Event]:
    try:
        return tuple(decode(value))
    except RejectedRecordError as error:
        return error.reason, error.detail


def test_the_formats_that_most_gateways_use_are_flat():
    assert {"envoy", "nginx", "haproxy"} <= set(FLAT)


@pytest.mark.parametrize("name", FLAT)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_values_at_any_keys_also_twice(name: str, data: st.DataObject):
    document = orjson.loads(data.draw(st.sampled_from(lines(name))))
    entries = [(key, orjson.dumps(value).decode()) for key, value in document.items()]
    keys = sorted({*document, *SLOTS[name], "unread"})
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(entries)))
        entries[at : at + data.draw(st.integers(0, 1))] = [
            (data.draw(st.sampled_from(keys)), data.draw(values))
        ]
    entries = [(key, text) for key, text in entries if text != "1e400" or key in SLOTS[name]]
    value = ("{" + ",".join(f'"{key}":{text}' for key, text in entries) + "}").encode()
    assert outcome(SHORT[name], value) == outcome(GENERAL[name], value)


@pytest.mark.parametrize("name", FLAT)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_broken_bytes(name: str, data: st.DataObject):
    value = bytearray(data.draw(st.sampled_from(lines(name))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\\", b'"', b"{", b"}", b",", b":", b"\xff", b"\n", b"[", b"-"])
        )  # fmt: skip
    assert outcome(SHORT[name], bytes(value)) == outcome(GENERAL[name], bytes(value))


def test_a_number_beyond_all_floats_where_nobody_reads_it_spoils_no_record():
    """The general way cannot even parse it; here it is stepped over."""
    value = lines("envoy")[0].replace(b"{", b'{"unread":1e400,', 1)
    assert outcome(SHORT["envoy"], value) == outcome(SHORT["envoy"], lines("envoy")[0])
    assert outcome(GENERAL["envoy"], value)[0] == "not_json"


BORDER: Final = datetime(2000, 1, 1, tzinfo=UTC)
moments = st.builds(
    lambda base, milliseconds, microseconds, hours: (
        base + timedelta(milliseconds=milliseconds, microseconds=microseconds)
    ).astimezone(timezone(timedelta(hours=hours))),
    st.sampled_from([BORDER, datetime(2026, 3, 1, tzinfo=UTC)]),
    st.integers(-2000, 2000),
    st.sampled_from([0, 0, 1, 999]),
    st.sampled_from([0, 0, 1]),
)


@given(st.lists(st.tuples(moments, st.sampled_from(["milliseconds", "seconds", "microseconds"])), max_size=8))
@example([(datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC), "milliseconds")])
def test_a_second_that_is_remembered_gives_the_same_times(written: list[tuple[datetime, Any]]):
    for moment, precision in written:
        text = moment.isoformat(timespec=precision).replace("+00:00", "Z")
        expected = rfc3339(text)
        for _ in range(2):
            assert quick_rfc3339(text) == (expected if MIN_TIME_MS <= expected < MAX_TIME_MS else None)


@given(st.lists(st.text("ab", max_size=2) | st.just("c" * 129), max_size=20))
def test_what_is_remembered_is_what_the_function_makes(texts: list[str]):
    remembered = Remembered(str.upper)
    assert [remembered[text] for text in texts] == [text.upper() for text in texts]
    assert set(remembered) == {text for text in texts if len(text) <= 128}


def test_what_is_remembered_is_bounded():
    remembered = Remembered(str.upper)
    for number in range(10_000):
        assert remembered[f"a{number}"] == f"A{number}"
        assert len(remembered) <= 4096
