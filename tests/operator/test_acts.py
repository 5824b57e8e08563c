"""Acts as bytes: each has a kind and a right, and what is no act is named without its values."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvariantError
from monitor.wire import acts
from monitor.wire.acts import RIGHT_FOR, Act, Suspend, decode_act, encode_act, kind_of

ASKED: dict[str, Any] = {"act": "act_1", "by": "anna@clinic.example", "reason": "key leaked", "at_ms": 1}


def test_each_act_needs_a_right_and_has_a_kind_of_its_own():
    assert set(RIGHT_FOR) == set(get_args(Act))
    kinds = [kind.__struct_config__.tag for kind in RIGHT_FOR]
    assert len(set(kinds)) == len(kinds)
    assert kind_of(Suspend(**ASKED, realm="r", id="i")) == "suspend"


@given(st.one_of(*(st.from_type(kind) for kind in get_args(Act))))
def test_an_act_survives_its_bytes(act: Act):
    act = msgspec.structs.replace(act, v=acts.FORMAT_VERSION)
    assert decode_act(encode_act(act), "here") == act


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"kind":"suspend"}',
        b'{"kind":"sudo","act":"a","by":"secret-person","reason":"","at_ms":1}',
        b'{"kind":"revoke","act":"a","by":"secret-person","reason":"","at_ms":1,"realm":"r","id":"i","and":1}',
        b'{"kind":"revoke","act":"a","by":"secret-person","reason":"","at_ms":1,"realm":"r","id":["secret-person"]}',
        b'{"kind":"resume_automation","v":2,"act":"a","by":"secret-person","reason":"","at_ms":1}',
    ],
)
def test_what_is_no_act_is_refused_without_its_values(value: bytes):
    with pytest.raises(InvariantError, match=r"^here: ") as refused:
        decode_act(value, "here")
    assert "secret-person" not in str(refused.value)
