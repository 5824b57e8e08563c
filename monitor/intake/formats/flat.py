"""Records without an object inside another: read straight into a few slots, without a dict of all their keys.

It takes what is as usual, a third cheaper; for all else (a list or an object where a text should be, broken
UTF-8, a number beyond 64 bits) it raises, and the general way says what such a record is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from monitor.intake.formats.paths import parse_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from monitor.intake.formats.specification import Condition, FormatSpec, ValueSpec

# What orjson reads as a whole number, too: beyond it there are floats.
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: What a record raises that only the general way can read, or refuse.
UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Flat:
    """The records of a flat format: one slot for each key that is read."""

    def __init__(self, keys: Iterable[str]) -> None:
        #: Key of the record → name of its slot.
        self.slots = {key: f"s{number}" for number, key in enumerate(dict.fromkeys(keys))}
        fields = [
            (slot, str | _Whole | float | bool | None, msgspec.field(default=None, name=key))
            for key, slot in self.slots.items()
        ]
        #: Return the slots of one record; raises one of `UNUSUAL`.
        self.decode = msgspec.json.Decoder(msgspec.defstruct("Record", fields, gc=False)).decode

    @classmethod
    def of(cls, spec: FormatSpec) -> Flat | None:
        """Return how a format's records are read, None where something stands deeper or is a secret."""
        if spec.key_values or spec.secrets or spec.events not in {"single", "either"}:
            return None
        ways = [way for field in type(spec.fields).model_fields for way in getattr(spec.fields, field) or ()]
        conditions = [spec.only_when, *(way.when for way in ways)]
        if isinstance(spec.authenticated, dict):
            conditions.append(spec.authenticated)
        keys = [*_keys_of_ways(ways), *_keys_of_conditions(conditions)]
        return None if None in keys else cls(key for key in keys if key is not None)

    def document(self, record: Any) -> dict[str, Any]:
        """Return a record as the general way has it, for what is read by a function."""
        return {
            key: value for key, slot in self.slots.items() if (value := getattr(record, slot)) is not None
        }


def _keys_of_ways(ways: Iterable[ValueSpec]) -> Iterator[str | None]:
    for way in ways:
        if way.path is not None:
            yield _only(way.path.keys)


def _keys_of_conditions(conditions: Iterable[Condition]) -> Iterator[str | None]:
    for condition in conditions:
        for place in condition:
            yield _only(parse_path(place).keys)


def _only(keys: tuple[str, ...] | None) -> str | None:
    return keys[0] if keys is not None and len(keys) == 1 else None
