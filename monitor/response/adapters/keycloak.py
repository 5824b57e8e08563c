"""Keycloak: a client with `enabled: false`; users, where that is wanted, disabled and signed out.

A token that is out already is good until it expires wherever it is checked offline: that is the time to
effect. Signing a user out cannot be undone, so it is done only where the configuration accepts that. A client
is marked as ours in an attribute; users are not, since Keycloak drops attributes that their profile does
not declare.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from monitor.response.adapters.base import GONE, HttpAdapter, document, expect
from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Seen, Traits
from monitor.response.outbound import Answer, UnexpectedAnswerError, part
from monitor.response.secret_file import SecretFile, one_line

if TYPE_CHECKING:
    from monitor.settings.adapters import KeycloakSettings

_MARK: Final = "access-monitor"
_NOT_FOUND: Final = 404
_UNAUTHORISED: Final = 401
#: A token is asked for anew this long before it expires.
_EARLY_SECONDS: Final = 10.0


class KeycloakAdapter(HttpAdapter):
    """Disables clients by their client id; with `sign_out_users`, users by their id."""

    def __init__(self, settings: KeycloakSettings) -> None:
        super().__init__(settings)
        users = settings.sign_out_users
        self.traits = Traits(
            kinds=frozenset({"oauth_client", "session", "account"} if users else {"oauth_client"}),
            time_to_effect_seconds=settings.access_token_lifespan.total_seconds(),
            scope="the client" + (", or the user with all sessions" if users else ""),
            irreversible="signing a user out" if users else None,
        )
        self._realm = part(settings.realm)
        self._client_id = settings.client_id
        self.secret = self._secret = SecretFile(settings.secret_file, one_line)
        self._token = ""
        self._expires = 0.0
        self._asking = asyncio.Lock()

    async def _tell(self, wanted: DesiredState) -> Outcome:
        found = await self._find(wanted)
        if found is None:
            return GONE
        path, about = found
        disabled = about.get("enabled") is False
        if _is_user(wanted):
            if disabled is not wanted.refused:
                expect(await self._call("PUT", path, json={**about, "enabled": not wanted.refused}))
            if wanted.refused:
                expect(await self._call("POST", f"{path}/logout"), _NOT_FOUND)
            return Accepted()
        ours = bool((about.get("attributes") or {}).get(_MARK))
        if disabled and not ours:
            return Accepted("it was disabled by somebody else")
        if wanted.refused or ours:
            # Keycloak removes the attributes that are empty, and keeps those that are left out.
            mark = (wanted.incident or wanted.status.value) if wanted.refused else ""
            changed = {
                "enabled": not wanted.refused,
                "attributes": {**about.get("attributes", {}), _MARK: mark},
            }
            expect(await self._call("PUT", path, json={**about, **changed}))
        return Accepted()

    async def _read(self, wanted: DesiredState) -> Seen | None:
        found = await self._find(wanted)
        if found is None:
            return Seen.UNKNOWN_CREDENTIAL
        _, about = found
        if about.get("enabled") is not False:
            return Seen.ACTIVE
        # A client that somebody else disabled is none of ours to reinstate.
        ours = _is_user(wanted) or wanted.refused or (about.get("attributes") or {}).get(_MARK)
        return Seen.REFUSED if ours else Seen.ACTIVE

    async def _probe(self) -> list[str]:
        self._expires = 0.0  # a secret that is no good any more must not hide behind a token
        answer = await self._call("GET", "/clients", query={"clientId": self._client_id})
        found = expect(answer).json()
        if not found or not isinstance(found, list):
            return ["this client may not see clients: it needs the role manage-clients of realm-management"]
        access = found[0].get("access") or {}
        if access.get("configure") is False:
            return [
                "this client may not change clients: it needs the role manage-clients of realm-management"
            ]
        return []

    async def _find(self, wanted: DesiredState) -> tuple[str, dict[str, Any]] | None:
        """Return the path and the representation of a client or user; None where there is none."""
        if _is_user(wanted):
            path = f"/users/{part(wanted.id)}"
            answer = expect(await self._call("GET", path), _NOT_FOUND)
            return None if answer.status == _NOT_FOUND else (path, document(answer))
        answer = expect(await self._call("GET", "/clients", query={"clientId": wanted.id}))
        found = answer.json()
        if not isinstance(found, list):
            raise UnexpectedAnswerError(answer)
        for client in found:
            if client.get("clientId") == wanted.id:
                return f"/clients/{part(str(client['id']))}", client
        return None

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        token = await self._access_token()
        answer = await self._call_with(token, method, path, **options)
        if answer.status == _UNAUTHORISED:
            # Keycloak was restarted, or its keys were changed.
            answer = await self._call_with(await self._access_token(not_=token), method, path, **options)
        return answer

    async def _call_with(self, token: str, method: str, path: str, **options: Any) -> Answer:
        headers = {"authorization": f"Bearer {token}"}
        return await self._http.call(method, f"/admin/realms/{self._realm}{path}", headers=headers, **options)

    async def _access_token(self, *, not_: str = "") -> str:
        """Return a token; a new one where the last has expired, or is the one that was refused."""
        async with self._asking:
            if time.monotonic() >= self._expires or self._token == not_:
                form = {
                    "grant_type": "client_credentials",
                    "client_id": self._client_id,
                    "client_secret": self._secret.newest(),
                }
                path = f"/realms/{self._realm}/protocol/openid-connect/token"
                found = document(expect(await self._http.call("POST", path, form=form)))
                self._token = str(found["access_token"])
                self._expires = time.monotonic() + float(found.get("expires_in", 0)) - _EARLY_SECONDS
            return self._token


def _is_user(wanted: DesiredState) -> bool:
    return wanted.kind in {"session", "account"}
