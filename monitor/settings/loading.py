"""Reads the settings; every fault is reported at once, with its place and without any secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from monitor.errors import ConfigurationError, Fault
from monitor.settings.models import OperatorSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PATH: Final = Path("monitor.yaml")
_PREFIX: Final = "MONITOR_"
_CONFIG_VARIABLE: Final = "MONITOR_CONFIG"
_TITLE: Final = "the configuration has faults"
_FILES: Final = frozenset(
    {
        "sasl_password_file",
        "ssl_ca_file",
        "ssl_certificate_file",
        "ssl_key_file",
        "key_file",
        "handle_key_file",
        "directory_file",
        "secret_file",
        "token_file",
        "ca_file",
        "map_file",
        "allow_all_file",
        "paths",
        "formats",
        "routes",
        "allowed_signers_file",
        "rights_file",
        "tls_certificate_file",
        "tls_key_file",
        "identity_file",
    }
)

#: Files that are there only while something is wrong.
_OFTEN_ABSENT: Final = frozenset({"allow_all_file"})

Place = tuple[str | int, ...]
_Loaded = TypeVar("_Loaded", bound=BaseSettings)


class _EnvironmentFirst(BaseSettings):
    """Settings whose environment wins over the file, which is passed as arguments."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


class _Layered(_EnvironmentFirst, Settings):
    pass


class _OperatorAlone(_EnvironmentFirst):
    model_config = SettingsConfigDict(**{**Settings.model_config, "extra": "ignore"})

    operator: OperatorSettings = OperatorSettings()


def load_settings(path: Path | None = None, *, check_files: bool = True) -> Settings:
    """Return the settings of a file (default: $MONITOR_CONFIG, then ./monitor.yaml).

    An environment variable ``MONITOR_KAFKA__BOOTSTRAP_SERVERS`` wins over ``kafka.bootstrap_servers``
    of the file. Relative paths are relative to the file's folder. With `check_files`, files that
    settings name must be readable. Raises ConfigurationError with all faults.
    """
    return _load(_Layered, path, check_files=check_files)


def load_operator_settings(path: Path | None = None) -> OperatorSettings:
    """Return the section `operator` alone, as `load_settings` does: a laptop has nothing else.

    What else the file holds is not looked at, and the files that it names need not be there.
    """
    return _load(_OperatorAlone, path, check_files=False).operator


def _load(model: type[_Loaded], path: Path | None, *, check_files: bool) -> _Loaded:
    named = path is not None or _CONFIG_VARIABLE in os.environ
    path = path or Path(os.environ.get(_CONFIG_VARIABLE, DEFAULT_PATH))
    plain, lines = _read(path, required=named)
    faults = list(_unknown_variables())
    settings = None
    try:
        settings = model(**_absolute(plain, path.parent.absolute()))
    except ValidationError as error:
        faults += [_fault(path, lines, item) for item in error.errors(include_input=False)]
    except SettingsError as error:
        faults.append(Fault("environment", f"{error}: expected JSON there"))
    if settings is not None and check_files:
        faults += [
            Fault(_where(path, lines, place), problem, remedy)
            for place, problem, remedy in _file_faults(settings)
        ]
    if faults or settings is None:
        raise ConfigurationError(_TITLE, faults)
    return settings


def origin_of(place: Place, path: Path) -> str | None:
    """Return where a setting was set: the variable, the file's name, or None for a default."""
    variable = _variable(place)
    if variable is not None:
        return f"environment {variable}"
    _, lines = _read(path, required=False)
    return path.name if place in lines else None


def setting_paths(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings; ``[]`` stands for an item of a list."""
    for name, field in model.model_fields.items():
        inner = _models_in(field.annotation)
        if not inner:
            yield prefix + name
        elif prefix.endswith("[].") and name == "kafka":
            yield prefix + name  # a source's own cluster has what `kafka` has
        else:
            listed = "[]" if "list" in str(field.annotation) else ""
            for model_ in inner:
                yield from setting_paths(model_, f"{prefix}{name}{listed}.")


def _read(path: Path, *, required: bool) -> tuple[dict[str, Any], dict[Place, int]]:
    """Return the file's content and the line of each key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return {}, {}
        raise _unreadable(path, "there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, f"cannot be read ({type(error).__name__})") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "is not YAML"
        raise ConfigurationError(_TITLE, [Fault(f"{path.name}{line}", str(problem))]) from None
    if plain is None:
        return {}, {}
    if not isinstance(plain, dict):
        raise _unreadable(path, "must hold sections such as kafka: and sources:")
    lines: dict[Place, int] = {}
    if node is not None:
        _note_lines(node, (), lines)
    return plain, lines


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            lines[inner] = key.start_mark.line + 1
            _note_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*place, index)
            lines[inner] = value.start_mark.line + 1
            _note_lines(value, inner, lines)


def _absolute(plain: Any, folder: Path, name: str = "") -> Any:
    """Return the content with the paths in it relative to the file's folder."""
    if isinstance(plain, dict):
        return {key: _absolute(value, folder, str(key)) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_absolute(value, folder, name) for value in plain]
    if name in _FILES and isinstance(plain, str) and not plain.startswith("pack:"):
        return str(folder / plain)
    return plain


def _fault(path: Path, lines: dict[Place, int], item: Any) -> Fault:
    place = _without_type(tuple(item["loc"]))
    problem = item["msg"].removeprefix("Value error, ")
    remedy = ""
    if item["type"] == "extra_forbidden":
        problem = "there is no such setting"
        remedy = "deploy/monitor.yaml shows all that exist"
    elif item["type"] == "union_tag_invalid":
        problem = f"type must be one of {item['ctx']['expected_tags']}"
    elif item["type"] == "union_tag_not_found":
        problem = "type is required"
        remedy = "docs/adapters.md lists them"
    elif item["type"] == "missing":
        problem = "is required"
    elif item["type"] == "string_pattern_mismatch":
        problem = "does not have the right form"
        remedy = "deploy/monitor.yaml shows one that has"
    return Fault(_where(path, lines, place), problem, remedy)


def _without_type(place: Place) -> Place:
    """Return the place without the type of an adapter, which pydantic names but the file does not."""
    for index, part in enumerate(place[:-1]):
        if part == "adapters" and len(place) > index + 2:
            return (*place[: index + 2], *place[index + 3 :])
    return place


def _where(path: Path, lines: dict[Place, int], place: Place) -> str:
    variable = _variable(place)
    if variable is not None:
        return f"environment {variable}"
    # Types in a union and the like are part of pydantic's place, but not of the file's.
    known = place
    while known and known not in lines:
        known = known[:-1]
    line = f":{lines[known]}" if known else ""
    return f"{path.name}{line} {_dotted(place)}".rstrip()


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _variable(place: Place) -> str | None:
    """Return the environment variable that set a place, or a part above it."""
    names = [str(part) for part in place]
    for length in range(len(names), 0, -1):
        wanted = (_PREFIX + "__".join(names[:length])).upper()
        for name in os.environ:
            if name.upper() == wanted:
                return name
    return None


def _unknown_variables() -> Iterator[Fault]:
    known = {(_PREFIX + "__".join(place)).upper() for place in _places(Settings, ())}
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith(_PREFIX) and upper != _CONFIG_VARIABLE and upper not in known:
            yield Fault(
                f"environment {name}",
                "there is no such setting",
                "two underscores stand between a section and its setting",
            )


def _places(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        place = (*prefix, name)
        yield place
        for inner in _models_in(field.annotation):
            yield from _places(inner, place)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a setting may hold: several where a list has items of several types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _file_faults(model: BaseModel, place: Place = ()) -> Iterator[tuple[Place, str, str]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        here = (*place, name)
        values = value if isinstance(value, list) else [value]
        for index, item in enumerate(values):
            inner = (*here, index) if isinstance(value, list) else here
            if isinstance(item, BaseModel):
                yield from _file_faults(item, inner)
            elif isinstance(item, Path) and name not in _OFTEN_ABSENT and not _readable(item):
                remedy = f"create it with: monitor keys new {item}" if name == "key_file" else ""
                yield inner, "names a file that cannot be read", remedy


def _readable(path: Path) -> bool:
    return path.exists() and os.access(path, os.R_OK)


def _unreadable(path: Path, problem: str) -> ConfigurationError:
    remedy = "name it with --config or MONITOR_CONFIG; deploy/monitor.yaml is an example"
    return ConfigurationError(_TITLE, [Fault(str(path), problem, remedy)])
