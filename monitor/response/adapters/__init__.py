"""One file per gateway. `build_endpoints` makes those that the configuration names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import ConfigurationError, Fault
from monitor.response.adapters.apisix import ApisixAdapter
from monitor.response.adapters.base import HttpAdapter
from monitor.response.adapters.haproxy import HaproxyAdapter
from monitor.response.adapters.keycloak import KeycloakAdapter
from monitor.response.adapters.kong import KongAdapter
from monitor.response.adapters.tyk import TykAdapter
from monitor.response.adapters.webhook import WebhookAdapter
from monitor.response.secret_file import SecretError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.response.adapters.protocol import Adapter
    from monitor.settings import AdapterSettings

_ADAPTERS: Final[dict[str, Any]] = {
    "webhook": WebhookAdapter,
    "kong": KongAdapter,
    "apisix": ApisixAdapter,
    "tyk": TykAdapter,
    "keycloak": KeycloakAdapter,
    "haproxy": HaproxyAdapter,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An adapter of the configuration, and whose credentials it is told of.

    `fingerprint` changes with the address and with `revision`: a receiver that answered 410 is called
    again when it does, or when a person enables it. `drill` is (realm, id, kind) of a test credential. A
    call, with all the requests that it takes, leaves within `timeout_seconds`.
    """

    adapter: Adapter
    realms: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    concurrency: int = 8
    fingerprint: str = ""
    drill: tuple[str, str, str] | None = None
    timeout_seconds: float = 10.0
    of_type: str = ""

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.adapter.name

    def serves(self, realm: str, kind: str) -> bool:
        """Return whether this gateway is told of a credential."""
        return (not self.realms or realm in self.realms) and kind in (self.kinds or self.adapter.traits.kinds)


def build_endpoints(adapters: Sequence[AdapterSettings]) -> list[Endpoint]:
    """Return what the configuration names.

    Raises ConfigurationError, with all faults, where a secret cannot be used, an adapter does what
    cannot be undone without the configuration's word for it, or is to serve what it cannot.
    """
    faults: list[Fault] = []
    endpoints = []
    for index, settings in enumerate(adapters):
        where = f"response.adapters[{index}]"
        try:
            adapter: Adapter = _ADAPTERS[settings.type](settings)
        except ConfigurationError as error:
            faults += [Fault(f"{where}.{f.where}", f.problem, f.remedy) for f in error.faults]
            continue
        faults += _faults(adapter, settings, where)
        endpoints.append(
            Endpoint(
                adapter,
                frozenset(settings.realms),
                frozenset(settings.kinds),
                settings.concurrency,
                _fingerprint(settings),
                _drill(adapter, settings),
                settings.timeout.total_seconds(),
                settings.type,
            )
        )
    if faults:
        raise ConfigurationError("gateways cannot be told", faults)
    return endpoints


def _faults(adapter: Adapter, settings: AdapterSettings, where: str) -> Iterator[Fault]:
    if isinstance(adapter, HttpAdapter) and adapter.secret is not None:
        try:
            adapter.secret.load()
        except SecretError as error:
            name = "token_file" if hasattr(settings, "token_file") else "secret_file"
            yield Fault(f"{where}.{name}", str(error))
    traits = adapter.traits
    if not traits.reversible and not settings.accept_irreversible:
        remedy = "accept_irreversible: true accepts that"
        yield Fault(where, f"it does what it cannot undo: {traits.irreversible}", remedy)
    unable = sorted(set(settings.kinds) - traits.kinds)
    if unable:
        problem = f"it cannot refuse {', '.join(unable)}"
        yield Fault(f"{where}.kinds", problem, f"it can {', '.join(sorted(traits.kinds))}")


def _fingerprint(settings: AdapterSettings) -> str:
    place = getattr(settings, "url", None) or getattr(settings, "socket", "")
    return hashlib.sha256(f"{settings.type}\0{place}\0{settings.revision}".encode()).hexdigest()[:16]


def _drill(adapter: Adapter, settings: AdapterSettings) -> tuple[str, str, str] | None:
    if settings.drill_credential is None:
        return None
    realm = settings.realms[0] if settings.realms else "drill"
    kind = settings.kinds[0] if settings.kinds else min(adapter.traits.kinds)
    return realm, settings.drill_credential, kind
