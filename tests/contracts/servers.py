"""Gateways' admin APIs on loopback: status codes, repeats and late effects as their documentation has them.

Each keeps credentials as its gateway does, and says with `lets_in` whether a request would be answered now:
what was changed takes effect a moment later.
"""

from __future__ import annotations

import asyncio
import copy
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from standardwebhooks.webhooks import Webhook

if TYPE_CHECKING:
    from typing import Self

TOKEN: Final = "an-admin-token-of-the-test"
#: How long after a change it takes effect, as a node of a gateway that polls its database.
LAG_SECONDS: Final = 0.05


class Server:
    """An admin API; a subclass answers. `calls` are (method, path with query) in order."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: list[tuple[str, str]] = []
        self.token = TOKEN
        #: What was configured, and what is in force.
        self.state: dict[str, Any] = {}
        self._in_force: dict[str, Any] = {}
        self._runner: web.ServerRunner | None = None
        self._later: set[asyncio.TimerHandle] = set()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]
        self._in_force = copy.deepcopy(self.state)

    async def down(self) -> None:
        """Refuse connections."""
        for handle in self._later:
            handle.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def changed(self) -> None:
        """Bring what is configured now into force, a moment later."""
        state = copy.deepcopy(self.state)
        self._later.add(asyncio.get_running_loop().call_later(LAG_SECONDS, self._enforce, state))

    def _enforce(self, state: dict[str, Any]) -> None:
        self._in_force = state

    async def _take(self, request: web.BaseRequest) -> web.Response:
        self.calls.append((request.method, request.path_qs))
        body = await request.read()
        return self.answer(request, body)

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer a call."""
        raise NotImplementedError


def told(status: int, body: Any = None) -> web.Response:
    """Return an answer with a JSON body."""
    if body is None:
        return web.Response(status=status)
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")


class Kong(Server):
    """Kong 3's Admin API: consumers, their key-auths and plugins."""

    def __init__(self, *consumers: str, db_less: bool = False) -> None:
        super().__init__()
        self.db_less = db_less
        self.state = {
            "consumers": {name: f"uuid-of-{name}" for name in consumers},
            "keys": {f"key-of-{name}": name for name in consumers},
            "plugins": {},
        }

    def lets_in(self, credential: str) -> bool:
        consumer = self._in_force["consumers"].get(self._in_force["keys"].get(credential, credential))
        return consumer is not None and not any(
            p["consumer"]["id"] == consumer and p["name"] == "request-termination" and p.get("enabled", True)
            for p in self._in_force["plugins"].values()
        )

    def forget(self, credential: str) -> None:
        """Lose what was told, as after a restore of the database."""
        self.state["plugins"].clear()
        self.changed()

    def remove(self, credential: str) -> None:
        """Delete a consumer with all that is its."""
        uuid = self.state["consumers"].pop(self.state["keys"].get(credential, credential))
        self.state["plugins"] = {
            k: p for k, p in self.state["plugins"].items() if p["consumer"]["id"] != uuid
        }
        self.changed()

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers.get("kong-admin-token") != self.token:
            return told(401, {"message": "Invalid credentials. Token or User credentials required"})
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", [""]:
                database = "off" if self.db_less else "postgres"
                return told(200, {"version": "3.9.1", "configuration": {"database": database}})
            case "GET", ["consumers"]:
                return told(200, {"data": [], "next": None})
            case "GET", ["key-auths", key, "consumer"] if key in self.state["keys"]:
                return self._consumer(self.state["keys"][key])
            case "GET", ["consumers", name]:
                return self._consumer(name)
            case (method, ["consumers", uuid, "plugins", plugin]) if uuid in self.state["consumers"].values():
                if method != "GET" and self.db_less:
                    problem = "cannot create or update 'plugins' entities when not using a database"
                    return told(405, {"code": 12, "message": problem, "name": "operation unsupported"})
                return self._plugin(method, uuid, plugin, body)
        return told(404, {"message": "Not found"})

    def _consumer(self, name: str) -> web.Response:
        uuid = self.state["consumers"].get(name)
        return (
            told(404, {"message": "Not found"}) if uuid is None else told(200, {"id": uuid, "username": name})
        )

    def _plugin(self, method: str, uuid: str, plugin: str, body: bytes) -> web.Response:
        plugins = self.state["plugins"]
        if method == "GET":
            found = plugins.get(plugin)
            return told(404, {"message": "Not found"}) if found is None else told(200, found)
        if method == "DELETE":
            found = plugins.pop(plugin, None)
            self.changed()
            return told(404 if found is None else 204)
        sent = json.loads(body)
        config = sent["config"]
        if "message" in config and ("body" in config or "content_type" in config):
            return told(400, {"message": "message cannot be used with content_type or body"})
        if any(
            k != plugin and p["consumer"]["id"] == uuid and p["name"] == sent["name"]
            for k, p in plugins.items()
        ):
            return told(409, {"name": "unique constraint violation"})
        plugins[plugin] = {**sent, "id": plugin, "consumer": {"id": uuid}}
        self.changed()
        return told(200, plugins[plugin])


class Apisix(Server):
    """APISIX 3's Admin API: consumers, which a PUT replaces as a whole."""

    def __init__(self, *consumers: str) -> None:
        super().__init__()
        self.state = {
            name: {
                "username": name,
                "plugins": {"key-auth": {"key": f"secret of {name}"}, "limit-count": {"count": 100}},
                "labels": {"team": "a"},
                "desc": "a partner",
                "create_time": 1,
                "update_time": 1,
            }
            for name in consumers
        }

    def lets_in(self, credential: str) -> bool:
        consumer = self._in_force.get(credential)
        if consumer is None or "key-auth" not in consumer["plugins"]:
            return False
        restriction = consumer["plugins"].get("consumer-restriction", {})
        return credential not in restriction.get("blacklist", ())

    def forget(self, credential: str) -> None:
        self.state[credential]["plugins"].pop("consumer-restriction")
        self.state[credential]["labels"].pop("access-monitor", None)
        self.changed()

    def remove(self, credential: str) -> None:
        del self.state[credential]
        self.changed()

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers.get("x-api-key") != self.token:
            return told(401, {"description": "wrong apikey", "error_msg": "failed to check token"})
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["apisix", "admin", "plugins", "list"]:
                return told(200, ["key-auth", "consumer-restriction"])
            case "GET", ["apisix", "admin", "consumers"]:
                return told(200, {"total": 0, "list": []})
            case "GET", [*_, "consumers", name] if name in self.state:
                return told(200, {"key": f"/apisix/consumers/{name}", "value": self.state[name]})
            case "PUT", ["apisix", "admin", "consumers"]:
                return self._put(json.loads(body))
        return told(404, {"message": "Key not found"})

    def _put(self, consumer: dict[str, Any]) -> web.Response:
        if unknown := set(consumer) - {"username", "plugins", "labels", "desc", "group_id"}:
            return told(400, {"error_msg": f"invalid configuration: {sorted(unknown)}"})
        new = consumer["username"] not in self.state
        self.state[consumer["username"]] = {**consumer, "create_time": 1, "update_time": 2}
        self.changed()
        return told(201 if new else 200, {"value": consumer})


class Tyk(Server):
    """Tyk's Gateway API: sessions by the hash of their key."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.state = {
            key: {
                "org_id": "1",
                "alias": f"partner {key}",
                "rate": 100,
                "quota_remaining": 7,
                "is_inactive": False,
            }
            for key in keys
        }

    def lets_in(self, credential: str) -> bool:
        session = self._in_force.get(credential)
        return session is not None and not session["is_inactive"]

    def forget(self, credential: str) -> None:
        self.state[credential]["is_inactive"] = False
        self.state[credential].pop("meta_data", None)
        self.changed()

    def remove(self, credential: str) -> None:
        del self.state[credential]
        self.changed()

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers.get("x-tyk-authorization") != self.token:
            return told(
                403,
                {
                    "status": "error",
                    "message": "Attempted administrative access with invalid or missing key!",
                },
            )
        if request.query.get("hashed") != "true":
            return told(404, {"status": "error", "message": "Key not found"})
        key = request.path.rpartition("/")[2]
        if key not in self.state:
            return told(404, {"status": "error", "message": "Key not found"})
        if request.method == "PUT":
            session = json.loads(body)
            if request.query.get("suppress_reset") != "1":
                session["quota_remaining"] = 1000
            self.state[key] = session
            self.changed()
            return told(200, {"key": key, "status": "ok", "action": "modified"})
        return told(200, self.state[key])


class Keycloak(Server):
    """Keycloak's Admin REST API: clients and users of one realm, with tokens that expire."""

    def __init__(self, *clients: str) -> None:
        super().__init__()
        self.tokens: set[str] = set()
        self.logged_out: list[str] = []
        self.state = {
            name: {
                "id": f"uuid-{name}",
                "clientId": name,
                "enabled": True,
                "attributes": {"a": "b"},
                "secret": "s",
            }
            for name in (*clients, "access-monitor")
        }
        self.users = {
            f"user-{name}": {"id": f"user-{name}", "username": name, "enabled": True} for name in clients
        }

    def lets_in(self, credential: str) -> bool:
        if credential in self.users:
            return bool(self.users[credential]["enabled"])
        client = self._in_force.get(credential)
        return client is not None and client["enabled"]

    def forget(self, credential: str) -> None:
        self.state[credential]["enabled"] = True
        self.state[credential]["attributes"].pop("access-monitor", None)
        self.changed()

    def remove(self, credential: str) -> None:
        del self.state[credential]
        self.changed()

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        parts = request.path.strip("/").split("/")
        if parts == ["realms", "clinics", "protocol", "openid-connect", "token"]:
            if f"client_secret={self.token}" not in body.decode():
                return told(401, {"error": "unauthorized_client"})
            token = f"token-{len(self.calls)}"
            self.tokens = {token}
            return told(200, {"access_token": token, "expires_in": 300})
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return told(401, {"error": "HTTP 401 Unauthorized"})
        match request.method, parts[3:]:
            case "GET", ["clients"]:
                wanted = request.query["clientId"]
                return told(200, [self.state[wanted]] if wanted in self.state else [])
            case "PUT", ["clients", uuid]:
                return self._put(uuid, json.loads(body))
            case "GET", ["users", user] if user in self.users:
                return told(200, self.users[user])
            case "PUT", ["users", user] if user in self.users:
                self.users[user] |= json.loads(body)
                return told(204)
            case "POST", ["users", user, "logout"]:
                self.logged_out.append(user)
                return told(204)
        return told(404, {"error": "Could not find client"})

    def _put(self, uuid: str, sent: dict[str, Any]) -> web.Response:
        for client in self.state.values():
            if client["id"] == uuid:
                # Attributes are merged; an empty one is removed.
                attributes = {**client["attributes"], **sent.get("attributes", {})}
                client.update(sent)
                client["attributes"] = {name: value for name, value in attributes.items() if value}
                self.changed()
                return told(204)
        return told(404, {"error": "Could not find client"})


class Receiver(Server):
    """A gateway behind the generic webhook: it does once whatever a signed call says."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.state = {}
        self._done: set[str] = set()

    def lets_in(self, credential: str) -> bool:
        return str(self._in_force.get(credential, "active")) == "active"

    def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.method == "HEAD":
            return told(405)
        try:
            message = Webhook(self.secret).verify(body, dict(request.headers))
        except Exception:  # noqa: BLE001 - the library raises several kinds for a wrong signature
            return told(401)
        if request.headers["webhook-id"] not in self._done:
            self._done.add(request.headers["webhook-id"])
            self.state[message["data"]["id"]] = message["data"]["status"]
            self.changed()
        return told(204)
