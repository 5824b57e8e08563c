"""Which findings were decided lately: a worker that died repeats what it had not flushed.

A repeated finding has the id of the first. Detect repeats at most what lies between two flushes, so
remembering the last ones is enough, and they stand in the `findings` topic itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.core.events import CredentialStatus, split_credential
from monitor.stream.read import read_to_end
from monitor.wire.credentials import CredentialStatusEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.settings import Settings
    from monitor.wire.credentials import CredentialRecord

#: Findings remembered: far more than a worker can find between two flushes.
REMEMBERED: Final = 50_000


class DecidedFindings:
    """The ids of the findings decided last, oldest first."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        #: Subjects that a rule in force wanted refused → until when its latch is shut at least (epoch ms).
        self.shut: dict[str, int] = {}

    def __contains__(self, finding: str) -> bool:
        return finding in self._ids

    def add(self, finding: str) -> None:
        """Remember a finding that is being decided."""
        self._ids[finding] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)

    def to_find_again(
        self, records: Mapping[str, CredentialRecord], version: int, now_ms: int
    ) -> Iterator[CredentialStatusEntry]:
        """Yield what detect is told where shadow has ended: latches shut meanwhile are open again.

        `version` is for credentials without a record.
        """
        for subject, until_ms in self.shut.items():
            record = records.get(subject)
            if until_ms < now_ms or (record is not None and record.refused):
                continue
            realm, name = split_credential(subject)
            yield CredentialStatusEntry(
                realm=realm,
                id=name,
                status=CredentialStatus.ACTIVE,
                version=record.version if record else version,
                at_ms=now_ms,
                finding=None,
                reopen_ms=now_ms,
                watch=record.finding if record and record.state == "held" else None,
            )

    async def load(self, settings: Settings, before: int, since: int) -> list[tuple[int, Mapping[str, Any]]]:
        """Remember the findings at the last offsets below `before`, which are decided.

        Returns those from the offset `since` on.
        """
        first = max(0, min(before - REMEMBERED, since))
        later: list[tuple[int, Mapping[str, Any]]] = []
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("findings"), 0, first):
            for record in records:
                # What is not decided yet is perhaps no finding at all.
                entry = orjson.loads(record.value) if record.offset < before else None
                if entry is not None and "id" in entry:
                    self.add(entry["id"])
                    if entry["kind"] != "finding":
                        continue
                    if record.offset >= since:
                        later.append((record.offset, entry))
                    if entry["action"] != "alert" and entry["mode"] == "enforce" and entry["principal"]:
                        until_ms = entry["observed_ms"] + entry["window"]["timespan_ms"]
                        self.shut[entry["subject"]] = max(until_ms, self.shut.get(entry["subject"], 0))
        return later
