"""What the ledger says about one incident or one credential, oldest first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka.errors import KafkaError

from monitor.errors import BrokerUnavailableError
from monitor.stream.read import offset_at, read_to_end

if TYPE_CHECKING:
    from monitor.settings import Settings

#: Entries shown: the newest.
SHOWN: Final = 500
#: Entries that hold whole rule sets are about no credential.
_RULES: Final = "rules_"


async def read_timeline(
    settings: Settings,
    *,
    since_ms: int,
    incident: str | None = None,
    credential: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return the ledger's entries since a time that name an incident, or a credential (realm, id).

    Raises BrokerUnavailableError where Kafka does not answer.
    """
    topic = settings.topic("decisions")
    found: deque[dict[str, Any]] = deque(maxlen=SHOWN)
    # Most entries are about others: only those that hold the text are decoded.
    text = orjson.dumps(incident if incident is not None else credential[1] if credential else "")
    try:
        first = await offset_at(settings.kafka, topic, since_ms) or 0
        async for records, _, _ in read_to_end(settings.kafka, topic, 0, first):
            for record in records:
                if record.value is None or text not in record.value:
                    continue
                entry = orjson.loads(record.value)
                if entry["at_ms"] < since_ms or entry["kind"].startswith(_RULES):
                    continue
                about = (entry.get("realm"), entry.get("id"))
                if about == credential if incident is None else entry.get("incident") == incident:
                    found.append(entry)
    except KafkaError as error:
        msg = f"{topic}: Kafka did not answer: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    return list(found)
