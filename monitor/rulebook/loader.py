"""Rule files → one rule set, with all that is wrong in them at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError, SigmaRuleLocation
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from monitor.core.rules import AnyOf, RuleSet
from monitor.errors import ConfigurationError, Fault
from monitor.rulebook.correlations import check_shape, read_rule, readable_part
from monitor.rulebook.detections import POLICY, UnsupportedError, check_detection, condition_of
from monitor.rulebook.directory import load_directory
from monitor.rulebook.documents import read_documents
from monitor.rulebook.filters import FILTER_KEYS, Filter, read_filter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from monitor.core.rules import Condition, Rule
    from monitor.rulebook.documents import Document

#: What every rule is about; each Sigma document of ours says so.
LOGSOURCE: Final = {"product": "access-monitor", "category": "api_access"}
_COMMON_KEYS: Final = (
    "title", "id", "name", "status", "description", "author", "date", "modified", "license",
    "references", "related", "tags", "fields", "falsepositives", "level", "scope", "taxonomy",
)  # fmt: skip
_OWN_KEYS: Final = {
    "detection": ("logsource", "detection"),
    "correlation": ("correlation", "response", "runbook"),
    "filter": ("logsource", "filter", *FILTER_KEYS),
}
#: Where pySigma's errors belong, by the beginning of their class name.
_ERROR_PATHS: Final[dict[str, tuple[str, ...]]] = {
    "SigmaTimespanError": ("correlation", "timespan"),
    "SigmaCorrelationTypeError": ("correlation", "type"),
    "SigmaCorrelationConditionError": ("correlation", "condition"),
    "SigmaCorrelationRuleError": ("correlation",),
    "SigmaFilterConditionError": ("filter", "condition"),
    "SigmaFilterRuleReferenceError": ("filter", "rules"),
    "SigmaConditionError": ("detection", "condition"),
    "SigmaDetectionError": ("detection",),
    "SigmaIdentifierError": ("id",),
    "SigmaTagError": ("tags",),
    **{
        f"Sigma{name}Error": (name.lower(),)
        for name in (
            "Title", "Name", "Taxonomy", "Related", "Level", "Status", "Date", "Modified",
            "Fields", "FalsePositives", "Author", "Description", "References", "License", "Scope", "Logsource",
        )
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """A rule set and the text of each file that it was read from, by the file's name."""

    rule_set: RuleSet
    texts: dict[str, str]


@dataclass(slots=True)
class _Entry:
    """A document with what pySigma made of it; `sound` is False once it has a fault."""

    document: Document
    sigma: SigmaRule | SigmaCorrelationRule | SigmaFilter | None
    sound: bool


def load_rules(paths: Sequence[Path | str], directory: Path | None = None) -> LoadedRules:
    """Return the rules of files and folders; ``pack:default`` is the folder that comes with us.

    All files are one name space; those of tests (``*.test.yml``) are left out. `directory` is the
    file that gives credentials their class. Raises ConfigurationError with every fault of all of them; each
    names file, line, rule and the path inside the rule.
    """
    faults: list[Fault] = []
    documents, texts = read_documents(paths, faults)
    entries = [_read(document, faults) for document in documents]
    classes = {} if directory is None else load_directory(directory, faults).classes
    _check_identities(entries, faults)
    filters = _filters(entries, faults)
    unfiltered = _conditions(entries, faults)
    conditions = _with_filters(entries, filters, unfiltered)
    rules = []
    for entry in entries:
        if isinstance(entry.sigma, SigmaCorrelationRule):
            rule = read_rule(entry.document, entry.sigma, conditions, unfiltered, faults, sound=entry.sound)
            if rule is not None:
                rules.append(rule)
    if not rules and not faults:
        where = ", ".join(str(path) for path in paths) or "no path"
        faults.append(Fault(where, "no correlation rule, so nothing would be found"))
    if faults:
        raise ConfigurationError("the rules cannot be used", sorted(faults, key=_position))
    allow_lists = tuple(found.about for found in filters)
    return LoadedRules(RuleSet(tuple(_apart(rules)), allow_lists, classes), texts)


def _position(fault: Fault) -> tuple[str, int]:
    file, _, rest = fault.where.partition(":" if not fault.where.startswith("pack:") else ".yml:")
    line = rest.partition(" ")[0]
    return file, int(line) if line.isdigit() else 0


def _read(document: Document, faults: list[Fault]) -> _Entry:
    """Parse one document with pySigma; its faults are added once, with the most exact place."""
    before = len(faults)
    own = [kind for kind in _OWN_KEYS if kind in document.value]
    if len(own) != 1:
        remedy = f"a rule has exactly one of: {', '.join(_OWN_KEYS)}"
        faults.append(document.fault((), "neither a base rule, a correlation nor a filter", remedy))
        return _Entry(document, None, sound=False)
    (kind,) = own
    faults += _check_keys(document, kind)
    if kind == "correlation":
        faults += check_shape(document)
        if not isinstance(document.value[kind], dict):
            return _Entry(document, None, sound=False)
    else:
        faults += _check_logsource(document)
        faults += _check_detections(document, kind)
    sigma = _parse(document, faults, known=len(faults) > before)
    return _Entry(document, sigma, sound=len(faults) == before)


def _parse(document: Document, faults: list[Fault], *, known: bool) -> Any:
    value = {
        key: part
        for key, part in document.value.items()
        if isinstance(part, str) or key not in ("id", "name")
    }
    correlation = value.get("correlation")
    if isinstance(correlation, dict):
        value["correlation"] = readable_part(correlation)
    try:
        errors, parsed = _sigma(document, value)
        if parsed is None and isinstance(correlation, dict):
            # pySigma stops at a fault of the condition: read the rest without it.
            value["correlation"] |= {"type": "event_count", "condition": {"gte": 1}}
            errors, parsed = [*errors, *_sigma(document, value)[0]], _sigma(document, value)[1]
            if parsed is not None:
                parsed.condition = parsed.type = None
    except Exception as error:  # noqa: BLE001 - pySigma trusts types; a rule file may hold anything
        if not known:
            problem = f"pySigma cannot read it ({type(error).__name__})"
            faults.append(document.fault((), problem, "check the types of its values"))
        return None
    for found in errors:
        path = _ERROR_PATHS.get(type(found).__name__, ())
        # A part that our own checks have reported already is not reported again in other words.
        if not (known and (not path or path[0] in ("detection", "filter", "logsource"))):
            faults.append(document.fault(path, str(found.args[0])))
    return parsed


def _sigma(document: Document, value: dict[str, Any]) -> tuple[list[SigmaError], Any]:
    """Return what pySigma makes of a document, with its errors; None where it gives up."""
    source = SigmaRuleLocation(document.file, document.line)  # type: ignore[arg-type]
    try:
        collection = SigmaCollection.from_dicts(
            [value],
            collect_errors=True,
            source=source,
            collect_filters=True,
            resolve_references=False,
            policy=POLICY,
        )
    except SigmaError as error:
        return [error], None
    return collection.errors, next(iter([*collection.rules, *collection.filters]), None)


def _check_keys(document: Document, kind: str) -> list[Fault]:
    faults = []
    known = (*_COMMON_KEYS, *_OWN_KEYS[kind])
    for key in document.value:
        if key in known:
            continue
        remedy = f"keys of a {kind} are: {', '.join(_OWN_KEYS[kind])}; and {', '.join(_COMMON_KEYS)}"
        if key == "response":
            remedy = "it belongs to a correlation rule"
        elif key == "action":
            remedy = "global, reset and repeat are not supported: write each rule out"
        faults.append(document.fault((str(key),), f"{str(key)!r} is not a key of a rule", remedy))
    runbook = document.value.get("runbook", "")
    if not isinstance(runbook, str):
        faults.append(document.fault(("runbook",), "expected a text: a link to what to do"))
    return faults


def _check_logsource(document: Document) -> list[Fault]:
    logsource = document.value.get("logsource")
    remedy = "logsource: {product: access-monitor, category: api_access}"
    if not isinstance(logsource, dict):
        return [document.fault(("logsource",), "missing or not a mapping", remedy)]
    return [
        document.fault(("logsource", str(key)), "not where access events come from", remedy)
        for key in {**LOGSOURCE, **logsource}
        if key != "definition" and logsource.get(key) != LOGSOURCE.get(key)
    ]


def _check_detections(document: Document, kind: str) -> list[Fault]:
    detections = document.value[kind]
    if not isinstance(detections, dict):
        return [document.fault((kind,), "expected a mapping")]
    faults = []
    for name, definition in detections.items():
        if name not in ("condition", "rules" if kind == "filter" else "condition"):
            faults += check_detection(document, (kind, str(name)), definition)
    return faults


def _check_identities(entries: list[_Entry], faults: list[Fault]) -> None:
    """Add a fault for each missing, doubled or confusing id and name."""
    seen: dict[str, Document] = {}
    titles: dict[str, Document] = {}
    for entry in entries:
        document = entry.document
        identity, name, title = (document.value.get(key) for key in ("id", "name", "title"))
        if identity is None:
            remedy = f"add for example id: {uuid.uuid4()}"
            faults.append(document.fault(("id",), "missing: a rule is known by its id", remedy))
        for key, value in (("id", identity), ("name", name)):
            if not isinstance(value, str):
                if value is not None:
                    faults.append(document.fault((key,), "expected a text", "put it in quotes"))
                continue
            first = seen.setdefault(value.lower() if key == "id" else value, document)
            if first is not document:
                faults.append(document.fault((key,), _doubled(key, first)))
        if "correlation" in document.value and isinstance(title, str):
            first = titles.setdefault(title, document)
            if first is not document:
                faults.append(document.fault(("title",), _doubled("title", first)))


def _doubled(key: str, first: Document) -> str:
    return f"the same {key} as {first.title} in {first.file}:{first.line}"


def _filters(entries: list[_Entry], faults: list[Fault]) -> list[Filter]:
    names = {
        key: entry for entry in entries if "detection" in entry.document.value for key in _references(entry)
    }
    found = []
    for entry in entries:
        if isinstance(entry.sigma, SigmaFilter) and entry.sound:
            read = read_filter(entry.document, entry.sigma, names, faults)
            if read is not None:
                found.append(read)
    return found


def _references(entry: _Entry) -> list[str]:
    """Return what a correlation or a filter may call a base rule: its name and its id."""
    document = entry.document.value
    return [value for key in ("name", "id") if isinstance(value := document.get(key), str)]


def _apart(rules: list[Rule]) -> list[Rule]:
    """Return the rules, those apart that count the same but for their allow-lists: each has its window."""
    meanings: dict[str, set[str]] = {}
    for rule in rules:
        meanings.setdefault(rule.window_key, set()).add(rule.meaning)
    return [
        replace(rule, unfiltered_key="") if len(meanings[rule.window_key]) > 1 else rule for rule in rules
    ]


def _with_filters(
    entries: list[_Entry], filters: list[Filter], unfiltered: dict[str, Condition | None]
) -> dict[str, Condition | None]:
    """Return the conditions with the filters that apply to each base rule."""
    conditions = dict(unfiltered)
    for entry in entries:
        names = _references(entry) if "detection" in entry.document.value else []
        for name in names:
            condition = conditions[name]
            for allowed in filters:
                if condition is not None:
                    condition = allowed.on(names, condition)
            conditions[name] = condition
    return conditions


def _conditions(entries: list[_Entry], faults: list[Fault]) -> dict[str, Condition | None]:
    """Return each base rule's condition by its name and id; None where it has faults."""
    conditions: dict[str, Condition | None] = {}
    for entry in entries:
        if "detection" not in entry.document.value:
            continue
        sigma = entry.sigma
        sound = entry.sound and isinstance(sigma, SigmaRule)
        condition = _condition(entry.document, sigma, faults) if sound else None
        for key in _references(entry):
            conditions[key] = condition
    return conditions


def _condition(document: Document, sigma: Any, faults: list[Fault]) -> Condition | None:
    path = ("detection", "condition")
    try:
        parts = tuple(condition_of(parsed.parsed) for parsed in sigma.detection.parsed_condition)
    except UnsupportedError as error:
        faults.append(document.fault(path, error.problem, error.remedy))
    except SigmaError as error:
        faults.append(document.fault(path, str(error.args[0])))
    except Exception as error:  # noqa: BLE001 - see _parse
        faults.append(document.fault(path, f"cannot be read ({type(error).__name__})"))
    else:
        return parts[0] if len(parts) == 1 else AnyOf(parts)
    return None
