"""Keeps counts exact while one pseudonym key gives way to another.

For a time each row says what its pseudonyms are called by the other key. Whatever its subject holds under
such a name is called by the row's own name before the row counts, so whoever is counted is counted under
one name only, and a patient's own subject moves to its new name. What no row names again stays under its old
name, once, until no window looks back to it (docs/adr/0012-key-epochs.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.events import AXIS, CLIENT_IP, OBJECT, PATIENTS, PSEUDONYMS, SUBJECT
from monitor.core.windows import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monitor.core.events import Row
    from monitor.core.findings import Place
    from monitor.core.subjects import Subjects


def rename(subjects: Subjects, row: Row, former: Mapping[str, Sequence[str]], place: Place) -> None:
    """Call all that the row's subject holds of its pseudonyms by the names in the row.

    Rows that the subject holds already change nothing. Nothing may wait that bears other names.
    """
    key = row[AXIS], row[SUBJECT]
    if key[0] in PSEUDONYMS:
        for name in former.get(key[1], ()):
            _move(subjects, (key[0], name), key, place)
    held = subjects.held.get(key)
    if held is None or place.offset <= held.recovered:
        return
    subject = subjects.awake(key, held)
    for name in _names(row):
        for other in former.get(name, ()):
            if subject.rename(other, name):
                subjects.touch(subject, NEVER, 0)


def _move(subjects: Subjects, key: tuple[str, str], to: tuple[str, str], place: Place) -> None:
    subject, other = subjects.held.get(key), subjects.held.get(to)
    if subject is None or place.offset <= subject.recovered or subject.expired(place.append_ms):
        return
    if other is not None and (place.offset <= other.recovered or not other.expired(place.append_ms)):
        return
    subjects.move(key, to)


def _names(row: Row) -> Iterator[str]:
    for patient, _ in row[PATIENTS] or ():
        yield patient
    for column in (OBJECT, CLIENT_IP):
        if row[column] is not None:
            yield row[column]
