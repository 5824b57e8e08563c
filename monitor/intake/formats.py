"""The formats that a source may have: how a gateway's record becomes events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from monitor.errors import ConfigurationError, Fault
from monitor.intake.canonical import CanonicalFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.intake.event import Event


class Decoder(Protocol):
    """Reads the records of one source."""

    def __call__(self, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
        """Return the events of one record: usually one; a batch of a gateway holds several.

        Raises RejectedRecordError where it cannot be read, without repeating any of it.
        """


class Format(Protocol):
    """One gateway's way to write events."""

    @property
    def name(self) -> str:
        """The name that a source's `format` setting gives."""

    @property
    def ids_are_gateways(self) -> bool:
        """Whether event ids are made by the gateway, so that an id seen twice is one event.

        False where a client's own request id may pass through: trusting it would let a client
        hide all but its first request.
        """

    def decoder(self, realm: str, *, trust_ids: bool = False) -> Decoder:
        """Return the decoder of a source; `realm` is where its credentials live by default.

        With `trust_ids` the site vouches that event ids are made by the gateway.
        """

    def message_key(self, value: bytes) -> bytes | None:
        """Return the Kafka key of a record (its principal), or None; cheap, never raises."""


FORMATS: Final[Mapping[str, Format]] = {known.name: known for known in (CanonicalFormat(),)}


def find_format(name: str, where: str) -> Format:
    """Return a format by name; `where` is the setting that names it.

    Raises ConfigurationError with the names that exist.
    """
    found = FORMATS.get(name)
    if found is None:
        fault = Fault(where, f"no format {name!r}", f"there is: {', '.join(sorted(FORMATS))}")
        raise ConfigurationError("a source has an unknown format", [fault])
    return found
