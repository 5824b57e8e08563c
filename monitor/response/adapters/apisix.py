"""APISIX: `consumer-restriction` on the consumer, with the consumer itself on the blacklist.

The Admin API replaces a consumer as a whole, so it is read, changed and written; keys stay as they are. A
rule for all routes (global rule) would not do: APISIX runs those before it knows the consumer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.response.adapters.base import GONE, HttpAdapter, document, expect
from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Seen, Traits
from monitor.response.outbound import Answer, UnexpectedAnswerError, UnfitError, part
from monitor.response.secret_file import SecretFile, one_line

if TYPE_CHECKING:
    from monitor.settings.adapters import ApisixSettings

_LABEL: Final = "access-monitor"
_PLUGIN: Final = "consumer-restriction"
_NOT_FOUND: Final = 404
#: What APISIX adds to what it keeps, and does not want back.
_ITS_OWN: Final = frozenset({"create_time", "update_time"})


class ApisixAdapter(HttpAdapter):
    """Refuses a consumer by its name, which is what APISIX logs."""

    traits = Traits(
        kinds=frozenset({"api_key", "oauth_client"}),
        time_to_effect_seconds=1.0,
        scope="the consumer, with all its credentials",
    )

    def __init__(self, settings: ApisixSettings) -> None:
        super().__init__(settings)
        self.secret = self._key = SecretFile(settings.token_file, one_line)

    async def _tell(self, wanted: DesiredState) -> Outcome:
        consumer = await self._consumer(wanted.id)
        if consumer is None:
            return GONE
        ours = _is_ours(consumer)
        if wanted.refused:
            if not ours and _PLUGIN in consumer["plugins"]:
                raise UnfitError(f"the consumer has a {_PLUGIN} plugin that is not ours")
            consumer["plugins"][_PLUGIN] = {
                "type": "consumer_name",
                "blacklist": [consumer["username"]],
                "rejected_code": 403,
                "rejected_msg": f"credential_{wanted.status.value} {wanted.incident}".strip(),
            }
            consumer["labels"][_LABEL] = "refused"
        elif ours:
            consumer["plugins"].pop(_PLUGIN, None)
            consumer["labels"].pop(_LABEL, None)
        else:
            return Accepted()
        if not consumer["labels"]:
            del consumer["labels"]
        expect(await self._call("PUT", "/apisix/admin/consumers", json=consumer))
        return Accepted()

    async def _read(self, wanted: DesiredState) -> Seen | None:
        consumer = await self._consumer(wanted.id)
        if consumer is None:
            return Seen.UNKNOWN_CREDENTIAL
        return Seen.REFUSED if _is_ours(consumer) and _PLUGIN in consumer["plugins"] else Seen.ACTIVE

    async def _probe(self) -> list[str]:
        expect(await self._call("GET", "/apisix/admin/consumers"))
        plugins = expect(await self._call("GET", "/apisix/admin/plugins/list")).json()
        if _PLUGIN not in plugins:
            return [f"the plugin {_PLUGIN} is not enabled in this APISIX"]
        return []

    async def _consumer(self, name: str) -> dict[str, Any] | None:
        """Return a consumer as it can be put back; None where APISIX does not know it."""
        answer = expect(await self._call("GET", f"/apisix/admin/consumers/{part(name)}"), _NOT_FOUND)
        if answer.status == _NOT_FOUND:
            return None
        found = document(answer)
        consumer = found.get("value") or (found.get("node") or {}).get("value")  # version 3, version 2
        if not isinstance(consumer, dict) or consumer.get("username") != name:
            raise UnexpectedAnswerError(answer)
        kept = {key: value for key, value in consumer.items() if key not in _ITS_OWN}
        kept["plugins"] = dict(kept.get("plugins") or {})
        kept["labels"] = dict(kept.get("labels") or {})
        return kept

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        return await self._http.call(method, path, headers={"x-api-key": self._key.newest()}, **options)


def _is_ours(consumer: dict[str, Any]) -> bool:
    return _LABEL in consumer["labels"]
