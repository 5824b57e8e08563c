"""The fixtures: real or documented records of each format, and the events that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import RejectedRecordError
from monitor.intake.event import Event, PartlyRead
from monitor.intake.formats import FORMATS, Format, ignore
from monitor.intake.routes import Matcher, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIXTURES: Final = Path(__file__).parent / "fixtures"
NAMES: Final = tuple(sorted(path.stem for path in FIXTURES.glob("*.jsonl")))
ROUTES: Final = Matcher(read_routes([FIXTURES / "routes.yaml"]))


def lines(name: str) -> list[bytes]:
    return (FIXTURES / f"{name}.jsonl").read_bytes().splitlines()


def expected(name: str) -> list[Any]:
    """The events of each line, without what is absent; or why there are none."""
    content: list[Any] = json.loads((FIXTURES / f"{name}.expected.json").read_text(encoding="utf-8"))
    return content


def told(event: Event) -> dict[str, Any]:
    """An event as the fixtures write it."""
    fields = {name: getattr(event, name) for name in Event.__struct_fields__}
    fields["patients"] = [list(pair) for pair in event.patients]
    return {name: value for name, value in fields.items() if value not in (None, [])}


def read(
    form: Format,
    value: bytes,
    headers: Sequence[tuple[str, bytes]] = (),
    note: Callable[[str], None] = ignore,
) -> Any:
    """What a record becomes, as the fixtures write it."""
    try:
        events = form.decoder("realm", match=ROUTES, note_secret=note)(value, headers)
    except RejectedRecordError as error:
        return str(error)
    refusals = list(map(list, events.refusals)) if isinstance(events, PartlyRead) else []
    return [*map(told, events), *refusals]


def main() -> None:
    """Write what is expected now; look at the difference before it is kept."""
    for name in NAMES:
        found = [read(FORMATS[name], line) for line in lines(name)]
        path = FIXTURES / f"{name}.expected.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
