"""Kong: a `request-termination` plugin on the consumer, which can be taken away again.

No key is deleted, so that a reinstatement gives the partner back the keys that it has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from monitor.response.adapters.base import GONE, HttpAdapter, document, expect
from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Seen, Traits
from monitor.response.outbound import Answer, UnexpectedAnswerError, UnfitError, part
from monitor.response.secret_file import SecretFile, one_line

if TYPE_CHECKING:
    from monitor.settings.adapters import KongSettings

TAG: Final = "access-monitor"
_PLUGIN: Final = "request-termination"
_OURS: Final = uuid.UUID("6d1f0a4e-3f5c-5d0a-9a59-0c6f1f6c2b7e")
_NOT_FOUND: Final = 404
_NOT_ALLOWED: Final = 405
_CONFLICT: Final = 409
_DB_LESS: Final = (
    "Kong runs without a database (DB-less): its Admin API changes nothing; use `monitor authz`, or the"
    " webhook with whatever writes Kong's declarative configuration"
)


class KongAdapter(HttpAdapter):
    """Refuses a consumer; where ids are those of keys, the consumer that a key belongs to.

    Two keys of one consumer may both be suspended: the plugin notes for which credentials it stands, and
    goes with the last of them.
    """

    traits = Traits(
        kinds=frozenset({"api_key", "oauth_client"}),
        time_to_effect_seconds=5.0,
        scope="the consumer, with all its credentials",
    )

    def __init__(self, settings: KongSettings) -> None:
        super().__init__(settings)
        self._token = None if settings.token_file is None else SecretFile(settings.token_file, one_line)
        self.secret = self._token
        self._by_key = settings.identifies == "key-auth"
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def _tell(self, wanted: DesiredState) -> Outcome:
        consumer = await self._consumer(wanted.id)
        if consumer is None:
            return GONE
        async with self._locks.setdefault(consumer, asyncio.Lock()):
            place = _place(consumer)
            holders = await self._holders(place)
            holder = _holder(wanted)
            left = sorted({*(holders or ()), holder} if wanted.refused else {*(holders or ())} - {holder})
            if left:
                answer = await self._call("PUT", place, json=_plugin(wanted, left))
            elif holders is not None:
                answer = await self._call("DELETE", place)
            else:
                return Accepted()
        if answer.status == _CONFLICT:
            raise UnfitError(f"the consumer has a {_PLUGIN} plugin that is not ours: remove it, or keep it")
        expect(answer, *(() if left else (_NOT_FOUND,)))
        return Accepted()

    async def _read(self, wanted: DesiredState) -> Seen | None:
        consumer = await self._consumer(wanted.id)
        if consumer is None:
            return Seen.UNKNOWN_CREDENTIAL
        holders = await self._holders(_place(consumer))
        return Seen.REFUSED if holders and _holder(wanted) in holders else Seen.ACTIVE

    async def _probe(self) -> list[str]:
        about = document(expect(await self._call("GET", "/")))
        configuration = about.get("configuration") or {}
        if configuration.get("database") == "off":
            return [_DB_LESS]
        expect(await self._call("GET", "/consumers", query={"size": "1"}))
        plugins = about.get("plugins") or {}
        available = plugins.get("available_on_server") or {}
        if available and _PLUGIN not in available:
            return [f"the plugin {_PLUGIN} is not available on this Kong"]
        return []

    async def _consumer(self, credential: str) -> str | None:
        """Return the uuid of the consumer to refuse; None where Kong does not know the credential."""
        path = f"/key-auths/{part(credential)}/consumer" if self._by_key else f"/consumers/{part(credential)}"
        answer = expect(await self._call("GET", path), _NOT_FOUND)
        return None if answer.status == _NOT_FOUND else str(document(answer)["id"])

    async def _holders(self, place: str) -> set[str] | None:
        """Return for which credentials our plugin stands; None where there is none."""
        answer = expect(await self._call("GET", place), _NOT_FOUND)
        if answer.status == _NOT_FOUND:
            return None
        found = document(answer)
        if found.get("enabled") is False:
            return set()  # somebody has switched it off
        return {tag for tag in found.get("tags") or () if tag.startswith(f"{TAG}-")}

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        headers = {} if self._token is None else {"kong-admin-token": self._token.newest()}
        answer = await self._http.call(method, path, headers=headers, **options)
        if answer.status == _NOT_ALLOWED:
            raise UnfitError(_DB_LESS)
        if method == "GET" and answer.status in {301, 302, 307, 308}:
            raise UnexpectedAnswerError(answer)
        return answer


def _place(consumer: str) -> str:
    return f"/consumers/{part(consumer)}/plugins/{uuid.uuid5(_OURS, consumer)}"


def _holder(wanted: DesiredState) -> str:
    """Return the tag that stands for a credential: Kong's tags allow no slash, and ids may be secrets."""
    return f"{TAG}-{hashlib.sha256(f'{wanted.realm}/{wanted.id}'.encode()).hexdigest()[:24]}"


def _plugin(wanted: DesiredState, holders: list[str]) -> dict[str, Any]:
    body = {"error": f"credential_{wanted.status.value}", "incident": wanted.incident}
    return {
        "name": _PLUGIN,
        "enabled": True,
        "tags": [TAG, *holders],
        "config": {"status_code": 403, "content_type": "application/json", "body": json.dumps(body)},
    }
