"""Whether a source's records come as they usually do: "no findings" must differ from "no data".

For each partition of a source a `Week` knows how many records each hour of the week usually brings, and the
longest silence within it. It is 470 characters of text, which travel with the partition's committed position:
whoever reads the partition next knows what is usual there, after a restart and on another machine.

All of it costs a few numbers per chunk, not per record, except where a gateway numbers its records.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka.structs import ConsumerRecord

    from monitor.intake.event import Event
    from monitor.observe.metrics import Metrics

HOURS: Final = 168
_HOUR_MS: Final = 3_600_000
_VERSION: Final = "1:"
_HEAD: Final = struct.Struct(">IIIII")
#: How much of the newest hour of its kind goes into what is usual.
_WEIGHT: Final = 0.3
#: Sizes are kept as logarithms of one byte: 9 % apart, up to two billion. The last one is "not known".
_STEPS: Final = 8
_UNKNOWN: Final = 255
#: A silence is unusual when it is so many times as long as the longest usual one, and at least so long.
_TIMES: Final = 3.0
_LEAST_SILENCE_SECONDS: Final = 60.0
#: Records further apart than this are looked at one by one.
_CLOSE_MS: Final = 10_000
#: Gateways of one source that have labels of their own.
_MOST_GATEWAYS: Final = 32
#: Numbers of a gateway that are told from repeated ones.
_REMEMBERED_NUMBERS: Final = 8_192
#: A number so far below the highest is a counter that began anew.
_RESTART: Final = 100_000
_SKEW_WINDOW_MS: Final = 60_000
#: How old what was said may be, in milliseconds: each partition asks four times a second.
_REFRESH_MS: Final = 1_000


class Week:
    """What is usual on one partition, by hour of the week (UTC). Times are Kafka's, epoch ms."""

    def __init__(self) -> None:
        self._counts = bytearray([_UNKNOWN]) * HOURS
        self._silences = bytearray([_UNKNOWN]) * HOURS
        #: The hour at hand: its number since the epoch, what came in it, and the longest silence.
        self._hour = 0
        self._count = 0
        self._silence_ms = 0
        #: The first hour that was seen from its beginning.
        self._whole_from = 0
        self._last_ms = 0

    @property
    def last_ms(self) -> int:
        """The time of the last record, 0 before the first."""
        return self._last_ms

    @property
    def note(self) -> str:
        """All of it as text; `recall` reads it."""
        head = _HEAD.pack(self._hour, self._count, self._silence_ms, self._whole_from, self._last_ms // 1000)
        return _VERSION + base64.b64encode(head + self._counts + self._silences).decode()

    def recall(self, note: str) -> None:
        """Go on with what a text of `note` says; any other text says nothing."""
        if not note.startswith(_VERSION):
            return
        try:
            plain = base64.b64decode(note[len(_VERSION) :], validate=True)
        except (binascii.Error, ValueError):
            return
        if len(plain) != _HEAD.size + 2 * HOURS:
            return
        self._hour, self._count, self._silence_ms, self._whole_from, last_s = _HEAD.unpack_from(plain)
        self._last_ms = last_s * 1000
        self._counts = bytearray(plain[_HEAD.size : _HEAD.size + HOURS])
        self._silences = bytearray(plain[_HEAD.size + HOURS :])

    def took(self, times_ms: Sequence[int]) -> None:
        """Note records that came at some times, in the order of the log."""
        first, last = times_ms[0], times_ms[-1]
        if last - first <= _CLOSE_MS and first // _HOUR_MS == last // _HOUR_MS:
            self._one(first, len(times_ms))
            self._last_ms = max(self._last_ms, last)
            return
        for at_ms in times_ms:
            self._one(at_ms, 1)

    def _one(self, at_ms: int, records: int) -> None:
        hour = at_ms // _HOUR_MS
        if not self._last_ms:
            self._hour, self._whole_from = hour, hour + 1
        while self._hour < hour:
            if hour - self._hour > HOURS + 1:
                self._hour = hour - HOURS - 1  # a week without anything says it all
            end_ms = (self._hour + 1) * _HOUR_MS
            self._silence_ms = max(self._silence_ms, end_ms - max(self._last_ms, self._hour * _HOUR_MS))
            self._end_hour()
        if hour == self._hour:
            self._silence_ms = max(self._silence_ms, at_ms - max(self._last_ms, hour * _HOUR_MS))
            self._count += records
        self._last_ms = max(self._last_ms, at_ms)

    def _end_hour(self) -> None:
        if self._hour >= self._whole_from:
            at = self._hour % HOURS
            usual, longest = _value(self._counts[at]), _value(self._silences[at])
            silence = self._silence_ms / 1000
            count = self._count if usual is None else usual + _WEIGHT * (self._count - usual)
            # A longer silence than ever was is usual from then on, a shorter one only by and by.
            longer = longest is None or silence > longest
            self._counts[at] = _coded(count)
            self._silences[at] = _coded(
                silence if longer or longest is None else longest + _WEIGHT * (silence - longest)
            )
        self._hour += 1
        self._count = self._silence_ms = 0

    def usual_per_second(self, now_ms: int) -> float | None:
        """Return how many records a second this hour of the week usually brings; None where not known."""
        usual = _value(self._counts[now_ms // _HOUR_MS % HOURS])
        return None if usual is None else usual * 1000 / _HOUR_MS

    def silence_limit_seconds(self, now_ms: int) -> float | None:
        """Return the silence that would be unusual now; None where nothing is known yet.

        By this hour of the week and its neighbours, or else by all hours that are known.
        """
        hour = now_ms // _HOUR_MS
        near = _known(self._silences[at % HOURS] for at in (hour - 1, hour, hour + 1))
        if _value(self._silences[hour % HOURS]) is None:
            near = _known(self._silences)
        return max(_LEAST_SILENCE_SECONDS, _TIMES * max(near)) if near else None


class Numbers:
    """The numbers of one gateway's records: the highest, and which were seen lately."""

    def __init__(self) -> None:
        self.highest = -1
        self._order: deque[int] = deque()
        self._seen: set[int] = set()

    def take(self, number: int) -> bool:
        """Note a number; return whether it was not seen before."""
        if number in self._seen:
            return False
        if number > self.highest or number < self.highest - _RESTART:
            self.highest = number
        self._seen.add(number)
        self._order.append(number)
        if len(self._order) > _REMEMBERED_NUMBERS:
            self._seen.discard(self._order.popleft())
        return True


class Feed:
    """One source as this process sees it, over all its partitions here."""

    def __init__(self, source: str, metrics: Metrics) -> None:
        self._source = source
        self._metrics = metrics
        self._weeks: set[Week] = set()
        self._numbers: dict[str, Numbers] = {}
        #: By gateway: the end of the window at hand, the least delay in it and in the one before (ms).
        self._delays: dict[str, tuple[int, int, int | None]] = {}
        self._refreshed_ms = 0

    def open(self, week: Week) -> None:
        """Take a partition into account."""
        self._weeks.add(week)

    def close(self, week: Week) -> None:
        """Leave a partition to whoever reads it now."""
        self._weeks.discard(week)

    def sample(self, record: ConsumerRecord, event: Event, now_ms: int) -> None:
        """Compare an event's time with Kafka's."""
        delay_ms = record.timestamp - event.time_ms
        self._metrics.feed_delay_seconds.labels(self._source).set(delay_ms / 1000)
        gateway = self._label(event.gateway, self._delays)
        end_ms, least, before = self._delays.get(gateway, (now_ms + _SKEW_WINDOW_MS, delay_ms, None))
        if now_ms >= end_ms:
            end_ms, least, before = now_ms + _SKEW_WINDOW_MS, delay_ms, least
        least = min(least, delay_ms)
        self._delays[gateway] = end_ms, least, before
        ahead_ms = -min(least, least if before is None else before)
        self._metrics.gateway_clock_ahead_seconds.labels(self._source, gateway).set(ahead_ms / 1000)

    def numbered(self, gateway: str | None, number: int) -> None:
        """Note a record that its gateway numbered."""
        name = self._label(gateway, self._numbers)
        numbers = self._numbers.get(name)
        if numbers is None:
            numbers = self._numbers[name] = Numbers()
        if numbers.take(number):
            self._metrics.feed_numbered_records_total.labels(self._source, name).inc()
            self._metrics.feed_highest_number.labels(self._source, name).set(numbers.highest)

    def refresh_when_due(self, now_ms: int) -> None:
        """Say what is usual now, where that was not said within the last second."""
        if abs(now_ms - self._refreshed_ms) >= _REFRESH_MS:
            self.refresh(now_ms)

    def refresh(self, now_ms: int) -> None:
        """Say what is usual now."""
        self._refreshed_ms = now_ms
        metrics, source = self._metrics, self._source
        last_ms = max((week.last_ms for week in self._weeks), default=0)
        metrics.feed_last_record_timestamp_seconds.labels(source).set(last_ms / 1000)
        limits = [limit for week in self._weeks if (limit := week.silence_limit_seconds(now_ms)) is not None]
        # The source is silent only while each of its partitions is.
        metrics.feed_silence_limit_seconds.labels(source).set(min(limits, default=0))
        usual = [rate for week in self._weeks if (rate := week.usual_per_second(now_ms)) is not None]
        metrics.feed_usual_records_per_second.labels(source).set(sum(usual))

    @staticmethod
    def _label(gateway: str | None, known: Mapping[str, object]) -> str:
        name = (gateway or "")[:64]
        return name if name in known or len(known) < _MOST_GATEWAYS else "other"


def _coded(size: float) -> int:
    return min(_UNKNOWN - 1, round(_STEPS * math.log2(1 + max(0.0, size))))


def _value(code: int) -> float | None:
    return None if code == _UNKNOWN else 2 ** (code / _STEPS) - 1


def _known(codes: Iterable[int]) -> list[float]:
    return [value for code in codes if (value := _value(code)) is not None]
