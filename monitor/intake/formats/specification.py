"""A format as its file says it: read strictly, all faults at once (docs/formats/README.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from monitor.core.events import PrincipalKind
from monitor.intake.formats.paths import Index, Path, parse_path
from monitor.intake.values import TIMES

TIME_NAMES: Final = frozenset(TIMES)
#: Stands for the whole record where `secrets` names an object.
WHOLE: Final = "."
_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a path such as request.headers.x-id")  # noqa: TRY004 - pydantic's way
    return parse_path(value)


APath = Annotated[Path, BeforeValidator(_path)]


class Presence(_Part):
    """Whether something stands at a path, or which values must not."""

    present: bool | None = None
    not_: list[str] | None = Field(None, alias="not", min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.present is None) == (self.not_ is None):
            raise ValueError("expected either present: true or false, or not: [values]")
        return self


def _condition(value: Any) -> Any:
    """Take one value for a list of one, and write numbers and truth values as JSON does."""
    if isinstance(value, dict):
        return value
    values = value if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in values]


#: path → its values, of which one must stand there; or `{present: …}`, or `{not: […]}`.
Condition = dict[str, Annotated[Presence | list[str], BeforeValidator(_condition)]]


class ValueSpec(_Part):
    """One way to come to a value: where it stands, when it counts, and what is made of it."""

    path: APath | None = None
    kafka_header: str | None = Field(None, min_length=1)
    constant: str | int | bool | None = None
    when: Condition = {}
    as_: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = Field(
        (), alias="as"
    )
    map: dict[str, str | int | None] = {}
    split: str | None = Field(None, min_length=1)
    tenant_before: str | None = Field(None, min_length=1)
    patient: APath | None = None
    tenant: APath | None = None
    reference: str | None = Field(None, pattern=r"^[A-Za-z]+$")
    hash: Literal["sha256"] | None = None
    hash_unless: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = []
        if sum(part is not None for part in (self.path, self.kafka_header, self.constant)) != 1:
            wrong.append("expected one of path, kafka_header and constant")
        unknown = [name for name in self.as_ if name not in TIME_NAMES]
        if unknown:
            wrong.append(f"as: no {unknown[0]!r}; there is {', '.join(sorted(TIME_NAMES))}")
        if self.hash is not None and self.hash_unless is not None:
            wrong.append("give either hash or hash_unless")
        if (self.tenant is not None or self.tenant_before is not None) and self.split and self.tenant:
            wrong.append("tenant goes with patient, not with split")
        if self.tenant is not None and self.patient is None:
            wrong.append("tenant needs patient beside it")
        if self.hash_unless is not None:
            try:
                re2.compile(self.hash_unless)
            except re2.error:
                wrong.append("hash_unless: not a pattern that RE2 reads")
        wrong += _condition_faults(self.when, "when")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but a path of keys."""
        return self.path is not None and self.path.keys is not None and self._is_bare

    @property
    def is_first(self) -> bool:
        """Whether it is nothing but the first of a list at a path of keys."""
        return (
            self.path is not None
            and self.path.steps[-1] == Index(0)
            and len(self.path.first_keys) == len(self.path.steps) - 1
            and self._is_bare
        )

    @property
    def _is_bare(self) -> bool:
        return (
            not (self.when or self.map or self.split or self.tenant_before or self.patient)
            and self.reference is None
            and self.hash is None
            and self.hash_unless is None
        )


def _alternatives(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    return [{"path": item} if isinstance(item, str) else item for item in values]


Value = Annotated[tuple[ValueSpec, ...], BeforeValidator(_alternatives), Field(min_length=1)]


class Fields(_Part):
    """Where each field of an event comes from: the first of several ways that gives a value."""

    time: Value | None = None
    status: Value
    id: Value | None = None
    principal: Value | None = None
    principal_kind: Value | None = None
    realm: Value | None = None
    object: Value | None = None
    patients: Value | None = None
    tenant: Value | None = None
    client_ip: Value | None = None
    method: Value | None = None
    route: Value | None = None
    path: Value | None = None
    query: Value | None = None
    bytes: Value | None = None
    records: Value | None = None
    gateway: Value | None = None
    number: Value | None = None


class FormatSpec(_Part):
    """One gateway's way to write events."""

    kind: Literal["format"] = "format"
    name: str = Field(pattern=_NAME)
    title: str = Field(min_length=1)
    extends: str | None = None
    ids: Literal["gateway", "client", "none"]
    ids_note: str = Field(min_length=1)
    authenticated: Literal["always", "never"] | Condition
    authenticated_note: str = Field(min_length=1)
    inbound_identity: str = Field(min_length=1)
    events: Literal["single", "list", "either"] | APath = "single"
    only_when: Condition = {}
    nulls: list[str] = []
    key_values: list[str] = []
    secrets: dict[str, list[str]] = {}
    redacted: list[str] = []
    secrets_remedy: str = ""
    max_record_bytes: int = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    fields: Fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = _condition_faults(self.only_when, "only_when")
        if isinstance(self.authenticated, dict):
            wrong += _condition_faults(self.authenticated, "authenticated")
        if not self.authenticated:
            wrong.append("authenticated: expected always, never, or at least one condition")
        if self.fields.time is None:
            wrong.append("fields.time: is required")
        elif not all(one.as_ for one in self.fields.time):
            wrong.append(f"fields.time: say how it is written, as: {', '.join(sorted(TIME_NAMES))}")
        for name in Fields.model_fields:
            for one in getattr(self.fields, name) or ():
                wrong += _misplaced(name, one)
        for place in self.secrets.keys() - {WHOLE}:
            wrong += _path_faults(place, "secrets")
        if self.secrets and not self.secrets_remedy:
            wrong.append("secrets_remedy: say how the gateway is kept from logging them")
        if wrong:
            raise ValueError("; ".join(dict.fromkeys(wrong)))
        return self


class EnvelopeSpec(_Part):
    """What a shipper puts around a gateway's record: named before it, ``fluent-bit+nginx``."""

    kind: Literal["envelope"]
    name: str = Field(pattern=_NAME)
    title: str = Field(min_length=1)
    payload: list[Literal["whole"] | APath] = Field([], max_length=8)
    payload_base64: APath | None = None
    strip: list[str] = []
    removes: list[str] = []
    time: Value | None = None
    id: Value | None = None
    only_when: Condition = {}
    headers_instead: str | None = None
    max_record_bytes: int = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = _condition_faults(self.only_when, "only_when")
        if not self.payload and self.payload_base64 is None:
            wrong.append("payload: say where the record is")
        if self.time is not None and not all(one.as_ for one in self.time):
            wrong.append(f"time: say how it is written, as: {', '.join(sorted(TIME_NAMES))}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _misplaced(name: str, one: ValueSpec) -> list[str]:
    wrong = []
    if one.as_ and name != "time":
        wrong.append(f"fields.{name}: only a time is written as something")
    if (one.split or one.tenant_before or one.patient) and name != "patients":
        wrong.append(f"fields.{name}: only patients are split, or have a tenant each")
    kinds = {kind.value for kind in PrincipalKind}
    if name == "principal_kind" and one.constant is not None and one.constant not in kinds:
        wrong.append(f"fields.principal_kind: expected one of {', '.join(sorted(kinds))}")
    if (one.hash or one.hash_unless) and name != "principal":
        wrong.append(f"fields.{name}: only a principal is hashed")
    return wrong


def _condition_faults(condition: Condition, where: str) -> list[str]:
    return [fault for place in condition for fault in _path_faults(place, where)]


def _path_faults(place: str, where: str) -> list[str]:
    try:
        parse_path(place)
    except ValueError as error:
        return [f"{where}: {error}"]
    return []
