"""Records that came before are counted, where no id tells a repeat from a new one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import engine
from monitor.core.events import SourceId
from monitor.core.rules import RuleSet
from monitor.intake.formats import FORMATS
from monitor.intake.keys import Epoch, Keys
from monitor.intake.native import packer_of
from monitor.intake.repeats import PythonRepeats
from monitor.intake.rows import EventRouter
from monitor.observe.metrics import Metrics
from monitor.rulebook import compile_pattern
from monitor.stream.chunks import Partition
from monitor.stream.intake import SourcePartition
from monitor.stream.sender import Delivery
from tests.formats.samples import lines
from tests.rig.native import native

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.intake.batch import Packer
    from monitor.intake.repeats import Repeats


KEYS = Keys(bytes(32), (Epoch("k1", bytes(32)),))


@pytest.fixture(scope="module", params=["python", "native"])
def repeats_of(request: pytest.FixtureRequest) -> Callable[[int], Repeats]:
    made: Callable[[int], Repeats] = (
        PythonRepeats if request.param == "python" else native(engine.router).Repeats
    )
    return made


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), max_size=60), st.integers(1, 7))
def test_a_repeat_is_one_of_the_last_different_records(
    repeats_of: Callable[[int], Repeats], values: list[bytes], limit: int
) -> None:
    repeats = repeats_of(limit)
    for at, value in enumerate(values):
        last = list(dict.fromkeys(reversed(values[:at])))[:limit]
        assert repeats.note(value) == (value in last)


def test_many_different_records_are_remembered(repeats_of: Callable[[int], Repeats]) -> None:
    repeats = repeats_of(10_000)
    values = [b"%d" % number for number in range(20_000)]
    assert not any(repeats.note(value) for value in values)
    assert all(repeats.note(value) for value in values[10_000:])
    assert not any(repeats.note(value) for value in values[:10_000])


class Outlet:
    """An installation that routes nothing: what is counted is what the test is about."""

    keep_payload = False

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.rejected = SimpleNamespace(put=lambda *_, **__: None)

    def packer_at(self, _now_ms: int) -> Packer:
        return packer_of(EventRouter(RuleSet(()), KEYS, 1, compile_pattern))

    def feed(self, _name: str) -> Any:
        return SimpleNamespace(sample=lambda *_: None, numbered=lambda *_: None)

    def saw(self, _name: str, _newest_ms: int) -> None:
        pass


def repeated(outlet: Outlet) -> float | None:
    value: float | None = outlet.metrics.registry.get_sample_value(
        "access_monitor_repeated_records_total", {"source": "gate"}
    )
    return value


def read(outlet: Any, format_name: str, chunks: Sequence[Sequence[bytes]], *, trust_ids: bool = False) -> int:
    """Read chunks of one partition; return how many rows came of them."""
    decode = FORMATS[format_name].decoder("gate", trust_ids=trust_ids)
    source = SourceId("cluster", "id", "gate", 0)
    partition = SourcePartition(
        Partition("gate", 0), 0, source, outlet, name="gate", format_name=format_name, decode=decode
    )
    targets: dict[int, list[Any]] = {}
    for chunk in chunks:
        records: Any = [
            SimpleNamespace(offset=at, value=value, headers=(), timestamp=1_772_359_200_250)
            for at, value in enumerate(chunk)
        ]
        partition.begin()
        partition.rows(records, targets, Delivery())
    return sum(piece.rows for piece in targets[0])


@pytest.mark.parametrize(
    ("format_name", "trust_ids", "expected"),
    [("caddy", False, 2), ("caddy", True, 2), ("envoy", False, 2), ("envoy", True, 0), ("nginx", False, 0)],
)
def test_what_a_shipper_repeats_is_counted_where_no_id_tells_and_never_dropped(
    format_name: str, trust_ids: bool, expected: int
) -> None:
    """The last two lines come again in the next chunk; a record that cannot be read is none of them."""
    outlet = Outlet()
    document = orjson.loads(lines(format_name)[0])
    sent = [orjson.dumps(document | {"number_of_the_test": n}) for n in range(5)]
    rows = read(outlet, format_name, [[*sent, b"{", b"{"], sent[-2:]], trust_ids=trust_ids)
    assert rows == len(sent) + 2
    assert repeated(outlet) == expected


def test_two_partitions_do_not_know_each_others_records() -> None:
    outlet = Outlet()
    for _ in range(2):
        read(outlet, "caddy", [[lines("caddy")[0]]])
    assert repeated(outlet) == 0
