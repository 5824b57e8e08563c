"""Rows from the native code (monitor/engine), which asks Python wherever an event is not plain.

It gives the same bytes as `PythonPacker`; tests/intake/test_native.py compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from monitor import engine
from monitor.core.events import AXIS_PRINCIPAL, COLUMN, DEFAULT_CLASSES, PATIENTS, TENANT, TIME
from monitor.core.leaves import describe
from monitor.core.windows import NEVER
from monitor.intake.batch import Piece, PythonPacker, Taken
from monitor.intake.canonical import plain_source
from monitor.intake.pseudonym import PEOPLE
from monitor.intake.rows import READ_ONLY_AXES, compares_client_ip, conditions_of, network_of
from monitor.wire.routed import pack_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.core.events import Row
    from monitor.intake.batch import Packer, Reader, SourceRecord
    from monitor.intake.event import Event
    from monitor.intake.formats import Decoder
    from monitor.intake.rows import EventRouter

_COLUMNS = {**COLUMN, "patient": PATIENTS, "tenant": TENANT}


def packer_of(router: EventRouter) -> Packer:
    """Return what makes packed rows: native where it can be, in Python while pseudonym keys rotate."""
    if engine.router is None or router.rotating:
        return PythonPacker(router)
    return NativePacker(router)


class NativePacker:
    """Makes packed rows natively."""

    def __init__(self, router: EventRouter) -> None:
        self.router = router
        self._native = engine.router.Router(_specification(router))

    def take(self, records: Sequence[SourceRecord], reader: Reader) -> Taken:
        """Return what comes of records, in order of their offsets."""
        route = self.router.route
        last: tuple[int, Sequence[Event]] = -1, ()

        def read(place: int) -> Sequence[Event] | None:
            nonlocal last
            events = reader.events(records[place])
            if events:
                last = place, events
            return events

        def routed(place: int, events: Sequence[Event]) -> tuple[list[tuple[int, bytes]], int] | None:
            try:
                routes = route(events, records[place].offset)
                rows = [(partition, pack_rows((row,))) for partition, row in routes]
            except Exception as error:  # noqa: BLE001 - one crafted record must not stop intake
                reader.failed(records[place], error)
                return None
            return rows, routes[0][1][TIME] if routes else 0

        left_out, careful = reader.left_out, None
        if left_out:
            careful = {place for place, record in enumerate(records) if record.offset in left_out}
        pieces, with_rows, without, repeated, newest_ms, numbers, sample = self._native.take(
            [record.value for record in records],
            [record.offset for record in records],
            careful,
            read,
            routed,
            plain_source(reader.decode),
            reader.repeats,
        )
        if sample >= 0 and last[0] != sample:
            # It was decoded natively: once more, for a look at it.
            last = sample, reader.decode(records[sample].value)
        return Taken(
            [Piece(*piece) for piece in pieces],
            with_rows,
            without,
            repeated,
            newest_ms,
            numbers,
            (sample, last[1][-1]) if sample >= 0 else None,
        )


#: Position, when Kafka took it (epoch ms; None for all records of a file), value and headers of a record.
LogRecord = tuple[int, int | None, bytes | None, "Sequence[tuple[str, bytes]]"]


class LogRead(NamedTuple):
    """What a part of a log gave: for each shard the times of its rows, and the rows packed; and what was read.

    A row's time is the latest of the log up to its record; `first_ms` and `reached_ms` are the first and the
    last of them, or `NEVER`.
    """

    shards: Sequence[tuple[list[int], Sequence[Row] | Sequence[bytes]]]
    events: int
    anonymous: int
    ahead: int
    first_ms: int
    reached_ms: int


class NativeLog:
    """Reads parts of logs natively, for trials."""

    def __init__(self, router: EventRouter, latest_ms: int) -> None:
        self._route = router.route
        self._native = engine.router.Router(_specification(router))
        self._latest_ms = latest_ms

    def read(
        self,
        records: Sequence[LogRecord],
        base: int,
        decode: Decoder,
        failed: Callable[[int, Exception], None],
    ) -> LogRead:
        """Return what records hold; positions count from `base`.

        `failed` gets the place of each that cannot be read, and why.
        """
        route = self._route

        def read(place: int) -> Sequence[Event] | None:
            _, _, value, headers = records[place]
            try:
                return decode(value, headers)
            except Exception as error:  # noqa: BLE001 - one crafted record must not stop the others
                failed(place, error)
                return None

        def routed(place: int, events: Sequence[Event]) -> tuple[list[tuple[int, bytes]], int] | None:
            try:
                routes = route(events, base + records[place][0])
                return [(shard, pack_rows((row,))) for shard, row in routes], 0
            except Exception as error:  # noqa: BLE001 - as above
                failed(place, error)
                return None

        taken = [at_ms for _, at_ms, _, _ in records if at_ms is not None]
        return LogRead(
            *self._native.read_log(
                [value for _, _, value, _ in records],
                [base + position for position, _, _, _ in records],
                taken or None,
                read,
                routed,
                plain_source(decode),
                self._latest_ms,
                NEVER,
            )
        )


def _specification(router: EventRouter) -> tuple[Any, ...]:
    """Return what monitor/engine/src/router_rows.cpp reads."""
    rule_set, epoch = router.rule_set, router.phase.epoch
    axes = [
        (
            axis,
            _COLUMNS[axis],
            axis in READ_ONLY_AXES,
            describe(conditions_of(rule_set, axis), router.compile_pattern),
        )
        for axis in rule_set.axes
        if axis != AXIS_PRINCIPAL
    ]
    # Where no directory has a say, the kind alone decides the class.
    kinds = [
        (str(kind), name)
        for kind, name in DEFAULT_CLASSES.items()
        if not rule_set.classes and kind not in PEOPLE
    ]
    return (
        epoch.id,
        epoch.key,
        router.keys.routing_key,
        router.partitions,
        compares_client_ip(rule_set),
        router.credential,
        network_of,
        kinds,
        axes,
    )
