"""How each kind of gateway is told; `docs/adapters.md` says what each does there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from monitor.settings.values import STRICT, Duration

Kind = Literal["api_key", "oauth_client", "session", "account"]
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_REALM = r"^[A-Za-z0-9_.-]{1,64}$"
_URL = r"^https?://[^\s/?#@]+(?::\d{1,5})?(/[^\s?#]*)?$"
# A receiver's address may hold a token of its own.
_WEBHOOK_URL = r"^https?://[^\s]+$"
_SOCKET = r"^/[^\s]+$|^[^\s:/]+:\d{1,5}$|^\[[0-9A-Fa-f:]+\]:\d{1,5}$"

Realms = list[Annotated[str, Field(pattern=_REALM)]]


class CommonSettings(BaseModel):
    """What all adapters have.

    `name` stands in metrics and in the ledger, and is how the ledger remembers what was told to whom:
    it must not change. `revision` is raised to call a receiver again that answered 410.
    """

    model_config = STRICT

    name: str = Field(pattern=_NAME)
    realms: Realms = []
    kinds: list[Kind] = []
    timeout: Duration = timedelta(seconds=10)
    concurrency: int = Field(8, ge=1, le=256)
    accept_irreversible: bool = False
    drill_credential: str | None = Field(None, min_length=1, max_length=200)
    revision: int = Field(1, ge=1)


class HttpAdapterSettings(CommonSettings):
    """What adapters have that speak HTTP."""

    url: str = Field(pattern=_URL)
    private_addresses: bool = False
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.url.startswith("http:") and not self.private_addresses:
            raise ValueError("url must be https, unless private_addresses is true")
        return self


class WebhookSettings(HttpAdapterSettings):
    """A receiver of Standard Webhooks calls; without `realms` it hears of all."""

    type: Literal["webhook"] = "webhook"
    url: str = Field(pattern=_WEBHOOK_URL)
    secret_file: Path


class KongSettings(HttpAdapterSettings):
    """Kong's Admin API."""

    type: Literal["kong"]
    realms: Realms = Field(min_length=1)
    token_file: Path | None = None
    identifies: Literal["consumer", "key-auth"] = "consumer"


class ApisixSettings(HttpAdapterSettings):
    """APISIX's Admin API."""

    type: Literal["apisix"]
    realms: Realms = Field(min_length=1)
    token_file: Path


class TykSettings(HttpAdapterSettings):
    """Tyk's Gateway API."""

    type: Literal["tyk"]
    realms: Realms = Field(min_length=1)
    token_file: Path
    hashed_keys: bool = True


class KeycloakSettings(HttpAdapterSettings):
    """Keycloak's Admin REST API; `realm` is Keycloak's."""

    type: Literal["keycloak"]
    realms: Realms = Field(min_length=1)
    realm: str = Field(pattern=_REALM)
    client_id: str = Field(min_length=1)
    secret_file: Path
    access_token_lifespan: Duration = timedelta(minutes=5)
    sign_out_users: bool = False


class HaproxySettings(CommonSettings):
    """HAProxy's runtime API, and the map file that it reads when it starts."""

    type: Literal["haproxy"]
    realms: Realms = Field(min_length=1)
    socket: str = Field(pattern=_SOCKET)
    map_file: Path


AdapterSettings = Annotated[
    WebhookSettings | KongSettings | ApisixSettings | TykSettings | KeycloakSettings | HaproxySettings,
    Field(discriminator="type"),
]
