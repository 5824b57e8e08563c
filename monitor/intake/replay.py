"""Records that were rejected and enter again, by a topic of their own.

At its old place a record would pass for one that is known. One that cannot be read this time either gets
another dead letter, of the topic `replay`: nothing sends that one again by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.errors import RejectedRecordError
from monitor.intake.formats.declared import DeclaredFormat
from monitor.intake.formats.paths import Each, Key, Path
from monitor.intake.inputs import Input
from monitor.intake.refusals import SecretsSeen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.intake.event import Event
    from monitor.intake.formats import Decoder, Format
    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings

#: What the topic is called as a source.
REPLAY: Final = "replay"
#: The Kafka headers that say which source a record is of, and which dead letter it was.
SOURCE_HEADER: Final = "access-monitor-source"
LETTER_HEADER: Final = "access-monitor-letter"


def replayed(settings: Settings, metrics: Metrics) -> Decoder:
    """Return the decoder of `replay`: each record is read as its source's are."""
    decoders = {
        source.name: Input.of(source, settings.formats).decoder(SecretsSeen(source.name, metrics))
        for source in settings.sources
    }

    def decode(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
        for name, text in headers:
            if name == SOURCE_HEADER:
                found = decoders.get(text.decode("utf-8", "replace"))
                if found is not None:
                    return found(value, headers)
        raise RejectedRecordError("bad_value", "replay: no source of monitor.yaml is named in the header")

    return decode


def event_alone(form: Format, value: bytes, number: int) -> bytes | None:
    """Return a record that holds one event of a batch alone: the others were read, and count already.

    None where it cannot be taken out, such as of a batch in an envelope.
    """
    if not isinstance(form, DeclaredFormat):
        return None
    place = form.spec.events
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    entries = place.values(document) if isinstance(place, Path) else document
    if not isinstance(entries, list) or not 0 < number <= len(entries):
        return None
    alone: Any = entries[number - 1]
    if isinstance(place, Path):
        for step in reversed(place.steps):
            if isinstance(step, Each):
                alone = [alone]
            elif isinstance(step, Key):
                alone = {step.name: alone}
            else:
                return None
    else:
        alone = [alone]
    return orjson.dumps(alone)
