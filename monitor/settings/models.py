"""What can be set, with its default; `docs` of each stand in deploy/monitor.yaml."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from monitor.settings.adapters import AdapterSettings
from monitor.settings.values import STRICT, Address, Duration, Listen, split_servers

Role = Literal["intake", "detect", "enforce"]
_SERVER = r"^[^\s:,/]+:\d{1,5}$|^\[[0-9A-Fa-f:]+\]:\d{1,5}$"
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"
_REALM = r"^[A-Za-z0-9_.-]{1,64}$"
_PREFIX = r"^[A-Za-z0-9._-]{0,180}$"
_URL = r"^https?://[^\s/?#@]+$"

Servers = Annotated[list[Annotated[str, Field(pattern=_SERVER)]], NoDecode, BeforeValidator(split_servers)]


class _Section(BaseModel):
    model_config = STRICT


class KafkaSettings(_Section):
    """How a cluster is reached, and what our own topics on it are called."""

    broker: Literal["cluster", "embedded"] = "cluster"
    bootstrap_servers: Servers = Field(min_length=1)
    topic_prefix: str = Field("access-monitor.", pattern=_PREFIX)
    group_prefix: str = Field("access-monitor.", pattern=_PREFIX)
    client_id: str = Field("access-monitor", min_length=1)
    partitions: int = Field(8, ge=1, le=1000)
    replication_factor: int = Field(3, ge=1, le=9)
    min_insync_replicas: int = Field(2, ge=1, le=9)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    session_timeout_seconds: float = Field(10.0, ge=1, le=300)
    request_timeout_seconds: float = Field(30.0, ge=1, le=300)
    max_inflated_batch_bytes: int = Field(64 << 20, ge=1 << 20, le=1 << 31)
    connect_timeout_seconds: float = Field(60.0, ge=0, le=3600)
    rejoin_timeout_seconds: float = Field(300.0, ge=0, le=86_400)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = []
        sasl = self.security_protocol.startswith("SASL_")
        if sasl and self.sasl_mechanism is None:
            wrong.append("sasl_mechanism is needed with security_protocol SASL_*")
        if self.sasl_mechanism is not None and not sasl:
            wrong.append("sasl_mechanism has no effect unless security_protocol is SASL_*")
        if self.sasl_password is not None and self.sasl_password_file is not None:
            wrong.append("give either sasl_password or sasl_password_file, not both")
        if sasl and (
            not self.sasl_username or (self.sasl_password is None and self.sasl_password_file is None)
        ):
            wrong.append("sasl_username and sasl_password (or sasl_password_file) are needed")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            wrong.append("ssl_certificate_file and ssl_key_file belong together")
        if self.ssl_ca_file is not None and not self.security_protocol.endswith("SSL"):
            wrong.append("ssl_ca_file has no effect unless security_protocol is SSL or SASL_SSL")
        if self.min_insync_replicas > self.replication_factor:
            wrong.append("min_insync_replicas is larger than replication_factor")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


Share = Annotated[float, Field(ge=0, le=1)]


class CoverageSettings(_Section):
    """The least share of events that must name each; `monitor formats coverage` fails below it."""

    principal: Share = 0.0
    patient: Share = 0.0
    tenant: Share = 0.0
    route: Share = 0.0


class SourceSettings(_Section):
    """One topic that a gateway's events arrive in."""

    name: str = Field(pattern=_NAME)
    topic: str = Field(pattern=_TOPIC)
    format: str = "canonical"
    realm: str = Field(pattern=_REALM)
    event_ids: Literal["untrusted", "gateway"] = "untrusted"
    routes: list[Path | Literal["pack:fhir-r4"]] = []
    max_record_bytes: int | None = Field(None, ge=1024, le=64 * 1024 * 1024)
    coverage: CoverageSettings = CoverageSettings()
    kafka: KafkaSettings | None = None


class PrivacySettings(_Section):
    """Pseudonyms, and what is kept of records that cannot be read."""

    key_file: Path
    handle_key_file: Path | None = None
    keep_rejected_payload: bool = False


class RulesSettings(_Section):
    """Where rules are read from when they are published."""

    paths: list[Path | Literal["pack:default"]] = Field(["pack:default"], min_length=1)


class CredentialsSettings(_Section):
    """What is known of credentials beside their events."""

    directory_file: Path | None = None


class DetectSettings(_Section):
    """How detection treats late events, and how often its state is made durable."""

    allowed_lateness: Duration = timedelta(hours=1)
    replay_budget: Duration = timedelta(seconds=3)
    flush_interval: Duration = timedelta(seconds=5)


class FuseSettings(_Section):
    """How many credentials may be refused automatically before a person must look.

    Of each class at most `ceiling` within `interval` (`classes` names others), at most `rule_ceiling` of
    them by one rule; and nothing more by a rule that finds `many` of a class within `many_within`.
    """

    interval: Duration = timedelta(hours=1)
    ceiling: int = Field(20, ge=0)
    classes: dict[str, Annotated[int, Field(ge=0)]] = {"account": 200}
    rule_ceiling: int = Field(50, ge=0)
    many: int = Field(50, ge=2)
    many_within: Duration = timedelta(minutes=1)


class ResponseSettings(_Section):
    """What follows a finding. `mode` is a ceiling over all rules."""

    mode: Literal["shadow", "enforce"] = "shadow"
    max_age: Duration = timedelta(minutes=15)
    default_ttl: Duration = timedelta(hours=24)
    adapters: list[AdapterSettings] = []
    retry_ceiling: Duration = timedelta(seconds=5)
    give_up_after: Duration = timedelta(minutes=10)
    reconcile_interval: Duration = timedelta(minutes=5)
    drill_interval: Duration | None = None
    quiet_after: Duration = timedelta(minutes=2)
    keep_ended: Duration = timedelta(days=90)
    keep_evidence: Duration = timedelta(days=365)
    fuse: FuseSettings = FuseSettings()

    @model_validator(mode="after")
    def _adapters_differ(self) -> Self:
        names = [adapter.name for adapter in self.adapters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two adapters are called {', '.join(twice)}")
        return self


class AuthzSettings(_Section):
    """The decision service that a gateway asks before it lets a request through."""

    listen: Address = Listen("127.0.0.1", 9191)
    realm: str | None = Field(None, pattern=_REALM)
    principal_header: str = Field("x-client-id", pattern=r"^[A-Za-z0-9-]+$")
    allow_all_file: Path | None = None
    deny_when_stale: Duration | None = None


class OperatorSettings(_Section):
    """The operator API of the enforcer (off without `allowed_signers_file`), and how commands reach it."""

    listen: Address = Listen("127.0.0.1", 9192)
    audience: str = Field("access-monitor", pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    allowed_signers_file: Path | None = None
    rights_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    url: str | None = Field(None, pattern=_URL)
    servers: list[Annotated[str, Field(pattern=_URL)]] = []
    ca_file: Path | None = None
    identity_file: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = []
        if (self.allowed_signers_file is None) != (self.rights_file is None):
            wrong.append("allowed_signers_file and rights_file belong together")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            wrong.append("tls_certificate_file and tls_key_file belong together")
        here = self.listen.host in {"localhost", "::1"} or self.listen.host[:4] == "127."
        if not here and self.tls_certificate_file is None:
            wrong.append(
                "listen is not this machine alone, so tls_certificate_file and tls_key_file are needed"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def own_url(self) -> str:
        """Where commands reach this one, as far as its settings say."""
        scheme = "http" if self.tls_certificate_file is None else "https"
        return self.url or f"{scheme}://{self.listen}"


class WorkerSettings(_Section):
    """What a worker process does, and its stable name in the groups (static membership)."""

    roles: list[Role] = Field(["intake", "detect", "enforce"], min_length=1)
    instance: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,200}$")
    on_gap: Literal["stop", "continue"] = "stop"


class ObserveSettings(_Section):
    """Metrics, probes and logs."""

    listen: Address = Listen("127.0.0.1", 9190)
    log_format: Literal["console", "json"] = "console"
    alertmanagers: list[Annotated[str, Field(pattern=r"^https?://[^\s]+$")]] = []
    alert_names: bool = True
    incident_url: str | None = Field(None, pattern=r"^https?://[^\s]*\{incident\}[^\s]*$")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="MONITOR_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    kafka: KafkaSettings
    sources: list[SourceSettings] = Field(min_length=1)
    formats: list[Path] = []
    privacy: PrivacySettings
    rules: RulesSettings = RulesSettings()
    credentials: CredentialsSettings = CredentialsSettings()
    detect: DetectSettings = DetectSettings()
    response: ResponseSettings = ResponseSettings()
    authz: AuthzSettings = AuthzSettings()
    operator: OperatorSettings = OperatorSettings()
    worker: WorkerSettings = WorkerSettings()
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        names: set[str] = set()
        topics: set[tuple[tuple[str, ...], str]] = set()
        wrong = []
        for source in self.sources:
            kafka = source.kafka or self.kafka
            place = (tuple(sorted(kafka.bootstrap_servers)), source.topic)
            if source.name in names:
                wrong.append(f"two sources are called {source.name}")
            if place in topics:
                wrong.append(f"two sources read the topic {source.topic}")
            if kafka == self.kafka and source.topic.startswith(self.kafka.topic_prefix):
                own = source.topic.removeprefix(self.kafka.topic_prefix)
                if own in OWN_TOPICS:
                    wrong.append(f"source {source.name} reads {source.topic}, a topic of our own")
            names.add(source.name)
            topics.add(place)
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def topic(self, name: str) -> str:
        """Return the full name of one of our own topics, such as ``routed``."""
        return f"{self.kafka.topic_prefix}{name}"

    def group(self, role: str) -> str:
        """Return the consumer group of a role."""
        return f"{self.kafka.group_prefix}{role}"


OWN_TOPICS = frozenset(
    {
        "routed",
        "state",
        "findings",
        "decisions",
        "credentials",
        "status",
        "control",
        "evidence",
        "rejected",
        "replay",
    }
)
