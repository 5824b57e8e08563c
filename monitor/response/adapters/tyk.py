"""Tyk: the key's session with `is_inactive`, which can be set back.

Tyk replaces a session as a whole, so it is read, changed and written. The log names keys by their hash
(`hash_keys` in Tyk's configuration): the monitor never sees a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.response.adapters.base import GONE, HttpAdapter, document, expect
from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Seen, Traits
from monitor.response.outbound import Answer, part
from monitor.response.secret_file import SecretFile, one_line

if TYPE_CHECKING:
    from monitor.settings.adapters import TykSettings

_MARK: Final = "access-monitor"
_NOT_FOUND: Final = 404


class TykAdapter(HttpAdapter):
    """Makes a key inactive; one that somebody else made inactive stays so when it is reinstated."""

    traits = Traits(
        kinds=frozenset({"api_key", "oauth_client"}),
        time_to_effect_seconds=10.0,
        scope="the key",
    )

    def __init__(self, settings: TykSettings) -> None:
        super().__init__(settings)
        self.secret = self._secret = SecretFile(settings.token_file, one_line)
        self._query = {"hashed": "true"} if settings.hashed_keys else {}

    async def _tell(self, wanted: DesiredState) -> Outcome:
        session = await self._session(wanted.id)
        if session is None:
            return GONE
        marks = dict(session.get("meta_data") or {})
        ours, inactive = _MARK in marks, bool(session.get("is_inactive"))
        if wanted.refused:
            if inactive and not ours:
                return Accepted("the key was made inactive by somebody else")
            marks[_MARK] = wanted.incident or wanted.status.value
        elif ours:
            del marks[_MARK]
        else:
            return Accepted("the key was made inactive by somebody else" if inactive else None)
        session["meta_data"], session["is_inactive"] = marks, wanted.refused
        # Without suppress_reset Tyk would give the key a fresh quota.
        query = {**self._query, "suppress_reset": "1"}
        answer = await self._call("PUT", wanted.id, query=query, json=session)
        return GONE if expect(answer, _NOT_FOUND).status == _NOT_FOUND else Accepted()

    async def _read(self, wanted: DesiredState) -> Seen | None:
        session = await self._session(wanted.id)
        if session is None:
            return Seen.UNKNOWN_CREDENTIAL
        if not session.get("is_inactive"):
            return Seen.ACTIVE
        # One that somebody else made inactive is none of ours to reinstate.
        return Seen.REFUSED if wanted.refused or _MARK in (session.get("meta_data") or {}) else Seen.ACTIVE

    async def _probe(self) -> list[str]:
        # A key that cannot be: 404 says that we may ask, 403 that the secret is wrong.
        expect(await self._call("GET", "access-monitor-probe", query=self._query), _NOT_FOUND)
        return []

    async def _session(self, key: str) -> dict[str, Any] | None:
        answer = expect(await self._call("GET", key, query=self._query), _NOT_FOUND)
        return None if answer.status == _NOT_FOUND else document(answer)

    async def _call(self, method: str, key: str, **options: Any) -> Answer:
        headers = {"x-tyk-authorization": self._secret.newest()}
        return await self._http.call(method, f"/tyk/keys/{part(key)}", headers=headers, **options)
