"""What a source's records are read with: format, routes, realm; the same live, on trial and by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from monitor.errors import ConfigurationError
from monitor.intake.formats import FORMATS, Catalogue, find_format, ignore
from monitor.intake.routes import Matcher, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from monitor.errors import Fault
    from monitor.intake.formats import Decoder, Format
    from monitor.settings import Settings, SourceSettings


@dataclass(frozen=True, slots=True)
class Input:
    """How the records of a source are read. It can travel to another process."""

    format: str
    realm: str
    where: str = "--format"
    trust_ids: bool = False
    routes: tuple[Path | str, ...] = ()
    formats: tuple[Path, ...] = ()
    max_record_bytes: int | None = None

    @classmethod
    def of(cls, source: SourceSettings, formats: Sequence[Path]) -> Input:
        """Return the input that a source's settings describe."""
        return cls(
            source.format,
            source.realm,
            f"sources.{source.name}.format",
            source.event_ids == "gateway",
            tuple(source.routes),
            tuple(formats),
            source.max_record_bytes,
        )

    def find(self) -> Format:
        """Return the format; raises ConfigurationError."""
        return find_format(self.format, self.where, catalogue(self.formats))

    def matcher(self) -> Matcher | None:
        """Return the matcher of the routes, None without any; raises ConfigurationError."""
        return matcher(self.routes) if self.routes else None

    def decoder(self, note_secret: Callable[[str], None] = ignore) -> Decoder:
        """Return the decoder, all of it compiled; raises ConfigurationError with every fault."""
        faults: list[Fault] = []
        form = match = None
        try:
            form = self.find()
        except ConfigurationError as error:
            faults += error.faults
        try:
            match = self.matcher()
        except ConfigurationError as error:
            faults += error.faults
        if form is None or faults:
            raise ConfigurationError("a source cannot be read", faults)
        return form.decoder(
            self.realm,
            trust_ids=self.trust_ids,
            match=match,
            note_secret=note_secret,
            max_record_bytes=self.max_record_bytes,
        )


def check_inputs(settings: Settings) -> None:
    """Raise ConfigurationError with every fault of the formats and routes of all sources."""
    faults: dict[str, Fault] = {}
    for source in settings.sources:
        try:
            Input.of(source, settings.formats).decoder()
        except ConfigurationError as error:
            faults |= {str(fault): fault for fault in error.faults}
    if faults:
        raise ConfigurationError("sources cannot be read", list(faults.values()))


@lru_cache(8)
def catalogue(files: tuple[Path, ...]) -> Mapping[str, Format]:
    """Return our formats and those of a site's files; raises ConfigurationError."""
    return Catalogue(files) if files else FORMATS


@lru_cache(32)
def matcher(paths: tuple[Path | str, ...]) -> Matcher:
    """Return the matcher of some files of routes; raises ConfigurationError."""
    return Matcher(read_routes(paths))
