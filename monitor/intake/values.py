"""What a gateway writes, as the values of an event: times, numbers, texts.

A parser takes a value as JSON has it and returns the event's, or None where there is none to read
(0 and a text of 0 mean "not set" in OTLP, and nowhere else). It raises ValueError, whose text says
what was expected and never what was found.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Earlier is no event time but a unit mix-up: seconds of today read as milliseconds are 1970.
MIN_TIME_MS: Final = 946_684_800_000  # 2000-01-01
MAX_TIME_MS: Final = 253_402_300_800_000  # year 10000, exclusive
MAX_COUNT: Final = 2**53
MAX_STATUS: Final = 999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES: Final = {str(number): number for number in range(100, 600)}
_LONGEST_NUMBER: Final = 32
_RFC3339_LENGTH: Final = 20
_NGINX_LENGTH: Final = 14
_SAFE_DIGITS: Final = 15
_MOST_SECONDS: Final = 4096
#: How the text of a time in UTC ends after its second → milliseconds.
_MILLISECONDS: Final = {"Z": 0, **{f".{number:03}Z": number for number in range(1000)}}
_seconds: dict[str, int] = {}


def text_of(value: Any, place: str) -> str | None:
    """Return a scalar as text; raises ValueError for a list, an object or a truth value."""
    if value.__class__ is str:
        return str(value)
    if value is None:
        return None
    if value.__class__ is int:
        return str(value)
    raise ValueError(f"{place}: expected text, got {kind_of(value)}")


def kind_of(value: Any) -> str:
    """Return what JSON calls the kind of a value."""
    if value is None:
        return "null"
    names = {str: "text", int: "a number", float: "a number", bool: "true or false", list: "a list"}
    return names.get(value.__class__, "an object")


def quick_status(value: Any) -> int | None:
    """Return a status as most gateways write it, None where `status_of` must look."""
    if value.__class__ is int:
        return value if 0 <= value <= MAX_STATUS else None
    return _STATUSES.get(value) if value.__class__ is str else None


def quick_count(value: Any) -> int | None:
    """Return a count as most gateways write it, None where `count_of` must look."""
    if value.__class__ is int:
        return value if 0 <= value <= MAX_COUNT else None
    if value.__class__ is str and len(value) <= _SAFE_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return None


def quick_epoch_ms(value: Any) -> int | None:
    """Return the time of most numbers of milliseconds, None where `time_of` must look."""
    return value if value.__class__ is int and MIN_TIME_MS <= value < MAX_TIME_MS else None


def quick_epoch_s(value: Any) -> int | None:
    """Return the time of ``1772359200.250``, as nginx writes it; None where `time_of` must look."""
    if value.__class__ is str and len(value) == _NGINX_LENGTH and value[10] == "." and value.isascii():
        digits = value[:10] + value[11:]
        if digits.isdigit():
            time_ms = int(digits)
            return time_ms if time_ms >= MIN_TIME_MS else None
    return None


def quick_rfc3339(value: Any) -> int | None:
    """Return the time of most RFC 3339 texts, None where `time_of` must look.

    A second has many events: it is read once, and only its milliseconds are looked up for each.
    """
    if value.__class__ is not str:
        return None
    part = _MILLISECONDS.get(value[19:])
    if part is not None:
        second = _seconds.get(value[:19])
        if second is not None:
            return second + part
    if len(value) < _RFC3339_LENGTH or value[10] != "T":
        return None
    try:
        since = datetime.fromisoformat(value) - _EPOCH
    except (ValueError, TypeError):
        return None
    time_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if not MIN_TIME_MS <= time_ms < MAX_TIME_MS:
        return None
    if part is not None:
        if len(_seconds) >= _MOST_SECONDS:
            _seconds.clear()
        _seconds[value[:19]] = time_ms - part
    return time_ms


def status_of(value: Any) -> int:
    """Return an HTTP status, 0 to 999, of a number or its digits."""
    number = value if value.__class__ is int else _digits(value)
    if number is None or not 0 <= number <= MAX_STATUS:
        raise ValueError("expected an HTTP status, 0 to 999")
    return int(number)


def count_of(value: Any) -> int:
    """Return a count, 0 to 2^53, of a number or its digits; Lua writes large ones as floats."""
    number = value if value.__class__ is int else _digits(value)
    if number is None and value.__class__ is float and value.is_integer():
        number = int(value)
    if number is None or not 0 <= number <= MAX_COUNT:
        raise ValueError("expected a whole number, 0 to 2^53")
    return int(number)


def rfc3339(value: Any) -> int:
    """Return the time of an RFC 3339 text with a zone; a finer time than milliseconds is cut."""
    if value.__class__ is str and len(value) >= _RFC3339_LENGTH and value[10] in "Tt ":
        try:
            since = datetime.fromisoformat(value) - _EPOCH
        except (ValueError, TypeError):  # TypeError: it has no zone
            pass
        else:
            # By integers: a float would round some times up.
            return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    raise ValueError("expected a time as RFC 3339 with a zone")


def epoch(unit_us: int, name: str) -> Callable[[Any], int | None]:
    """Return the parser of a count of units since 1970, each of so many microseconds.

    It takes whole numbers, fractions, and both as text (nginx writes ``$msec`` so).
    """

    def parse(value: Any) -> int | None:
        if value.__class__ is int:
            return int(value * unit_us // 1000)
        if value.__class__ is float and abs(value) < MAX_TIME_MS * 1000:
            # To whole microseconds first: 1772359200.001 is a little less as a float.
            return round(value * unit_us) // 1000
        if value.__class__ is str and 0 < len(value) <= _LONGEST_NUMBER and value.isascii():
            whole, point, part = value.partition(".")
            if whole.isdigit() and (part.isdigit() or not point):
                fraction = int(part[:6].ljust(6, "0")) * unit_us // 1_000_000 if part else 0
                return (int(whole) * unit_us + fraction) // 1000
        raise ValueError(f"expected a time as {name} since 1970")

    return parse


def epoch_ns(value: Any) -> int | None:
    """Return the time of nanoseconds since 1970, also as text; 0 is "not set", as OTLP has it."""
    number = value if value.__class__ is int else _digits(value)
    if number is None:
        raise ValueError("expected a time as nanoseconds since 1970")
    return int(number) // 1_000_000 if number else None


#: How a format may write time: name → parser.
TIMES: Final[Mapping[str, Callable[[Any], int | None]]] = {
    "rfc3339": rfc3339,
    "epoch_s": epoch(1_000_000, "seconds"),
    "epoch_ms": epoch(1000, "milliseconds"),
    "epoch_us": epoch(1, "microseconds"),
    "epoch_ns": epoch_ns,
}


def time_of(names: tuple[str, ...]) -> Callable[[Any], int | None]:
    """Return the parser of a time that is written in one of several ways.

    A wrong unit is found out: what is before 2000 or after 9999 is no event time.
    """
    parsers = tuple(TIMES[name] for name in names)

    def parse(value: Any) -> int | None:
        for parser in parsers:
            try:
                time_ms = parser(value)
            except ValueError:
                continue
            if time_ms is None or MIN_TIME_MS <= time_ms < MAX_TIME_MS:
                return time_ms
        raise ValueError(f"expected a time after the year 2000, as {' or '.join(names)}")

    return parse


def sha256(text: str) -> str:
    """Return what stands for a secret: it names the credential, and does not let anybody use it."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _digits(value: Any) -> int | None:
    if value.__class__ is str and value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER:
        return int(value)
    return None
