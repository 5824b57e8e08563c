"""Test files of rules (``NAME.test.yml``): read strictly, all faults at once."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from monitor.core.events import CredentialStatus, credential_subject
from monitor.errors import ConfigurationError, Fault, RejectedRecordError
from monitor.intake.formats import find_format
from monitor.intake.routes import Matcher, read_routes
from monitor.rulebook import load_rules
from monitor.rulebook.documents import PACK_PREFIX, PACKS, TEST_INFIX, parse, read_text
from monitor.trial.cases import Case, Delivery, Expectation, Expected, StatusChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.rules import RuleSet
    from monitor.rulebook.documents import Document

    Place = tuple[str | int, ...]

MOST_EVENTS: Final = 200_000
_SUFFIXES: Final = (".yml", ".yaml")
_REALM: Final = "test"
_NOW: Final = dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC)
_FILE_KEYS: Final = ("about", "cases", "classes", "now", "routes", "rules")
_CASE_KEYS: Final = ("about", "events", "expect", "name")
_TIMING: Final = ("at", "delivered", "every", "times")
_STATUS_KEYS: Final = ("becomes", "status_of")
_EXPECT_KEYS: Final = ("at_least", "at_most", "exactly")
_FINDING_KEYS: Final = ("at", "rule", "straggler", "subject", "value")
_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_span = re.compile(r"(?:\d+(?:ms|s|m|h|d))+\Z").match
_parts = re.compile(r"(\d+)(ms|s|m|h|d)").findall


def find_test_files(paths: Sequence[str]) -> list[tuple[str, Path]]:
    """Return (name for people, path) of the test files that belong to some paths.

    A folder stands for those in it, a rule file for the one beside it, ``pack:default`` for the pack's.
    Raises ConfigurationError for each path that has none.
    """
    found: dict[str, Path] = {}
    faults = []
    for given in paths:
        of_pack = given.startswith(PACK_PREFIX)
        path = PACKS / given.removeprefix(PACK_PREFIX) if of_pack else Path(given)
        inside = sorted(_test_files(path))
        if not inside:
            problem = "no such file or folder" if not path.exists() else "no test file beside it or in it"
            faults.append(
                Fault(given, problem, f"write NAME{TEST_INFIX}.yml beside NAME.yml; see docs/rules.md")
            )
        for file in inside:
            name = f"{given}/{file.relative_to(path).as_posix()}" if path.is_dir() else str(file)
            found.setdefault(name, file)
    if faults:
        raise ConfigurationError("there is nothing to test", faults)
    return list(found.items())


def read_cases(name: str, path: Path, faults: list[Fault]) -> list[Case]:
    """Return the cases of one test file; what is wrong is added to `faults`."""
    text = read_text(name, path, faults)
    documents = parse(name, text, faults) if text is not None else []
    cases: list[Case] = []
    for document in documents:
        before = len(faults)
        _check_keys(document, (), document.value, _FILE_KEYS, faults)
        rule_set = _rules(document, path, faults)
        now_ms = _now_ms(document, faults)
        match = _matcher(document, path, faults)
        entries = document.value.get("cases")
        if not isinstance(entries, list) or not entries:
            faults.append(document.fault(("cases",), "missing, or no list of cases"))
            continue
        if rule_set is None or len(faults) > before:
            continue
        reading = _Reading(name, document, rule_set, now_ms, match, faults)
        for index, entry in enumerate(entries):
            case = reading.case(("cases", index), entry)
            if case is not None:
                cases.append(case)
    return cases


def _test_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for file in path.rglob("*"):
            if file.suffix in _SUFFIXES and file.stem.endswith(TEST_INFIX) and file.is_file():
                yield file
    elif path.stem.endswith(TEST_INFIX):
        if path.is_file():
            yield path
    else:
        for suffix in _SUFFIXES:
            beside = path.with_name(f"{path.stem}{TEST_INFIX}{suffix}")
            if path.is_file() and beside.is_file():
                yield beside


def _check_keys(
    document: Document, place: Place, value: dict[str, Any], known: Sequence[str], faults: list[Fault]
) -> None:
    for key in value:
        if key not in known:
            remedy = f"keys are: {', '.join(known)}"
            faults.append(document.fault((*place, str(key)), f"{str(key)!r} is not a key here", remedy))


def _rules(document: Document, path: Path, faults: list[Fault]) -> RuleSet | None:
    """Return the rules that a file tests, with the classes that it gives to credentials."""
    given = document.value.get("rules")
    if given is None:
        stem = path.stem.removesuffix(TEST_INFIX)
        beside = [path.with_name(stem + suffix) for suffix in _SUFFIXES]
        given = [str(file) for file in beside if file.is_file()]
        if not given:
            faults.append(document.fault((), f"no {stem}.yml beside it", "name what it tests: rules: [PATH]"))
            return None
    elif isinstance(given, list) and given and all(isinstance(entry, str) for entry in given):
        given = _beside(path, given)
    else:
        faults.append(
            document.fault(("rules",), "expected a list of paths", "rules: [exports.yml, pack:default]")
        )
        return None
    classes = document.value.get("classes", {})
    if not isinstance(classes, dict) or not all(
        isinstance(part, str) for item in classes.items() for part in item
    ):
        faults.append(
            document.fault(("classes",), "expected credentials with a class each", "sync-1: bulk-sync")
        )
        return None
    try:
        rule_set = load_rules(given).rule_set
    except ConfigurationError as error:
        faults += error.faults
        return None
    by_subject = {credential_subject(_REALM, name): of for name, of in classes.items()}
    return replace(rule_set, classes=by_subject)


def _beside(path: Path, given: list[str]) -> list[str]:
    """Return paths that a file names, as seen from where it stands."""
    return [entry if entry.startswith(PACK_PREFIX) else str(path.parent / entry) for entry in given]


def _matcher(document: Document, path: Path, faults: list[Fault]) -> Matcher | None:
    """Return what finds the route, patients and category of a path, None where a file names no routes."""
    given = document.value.get("routes", [])
    if not isinstance(given, list) or not all(isinstance(entry, str) for entry in given):
        faults.append(document.fault(("routes",), "expected a list of paths", "routes: [routes.yaml]"))
        return None
    try:
        return Matcher(read_routes(_beside(path, given))) if given else None
    except ConfigurationError as error:
        faults += error.faults
        return None


def _now_ms(document: Document, faults: list[Fault]) -> int:
    value = document.value.get("now", _NOW)
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        faults.append(document.fault(("now",), "expected a time with its zone", "now: 2026-01-05T08:00:00Z"))
        return 0
    return int(value.timestamp() * 1000)


@dataclass(slots=True)
class _Reading:
    """The cases of one document on their way."""

    file: str
    document: Document
    rule_set: RuleSet
    now_ms: int
    match: Matcher | None
    faults: list[Fault]

    def case(self, place: Place, entry: Any) -> Case | None:
        """Return a case, or None with its faults noted."""
        before = len(self.faults)
        if not isinstance(entry, dict):
            self._fault(place, "expected a mapping with name, events and expect")
            return None
        _check_keys(self.document, place, entry, _CASE_KEYS, self.faults)
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            self._fault((*place, "name"), "missing, or no text")
        deliveries = self._deliveries((*place, "events"), entry.get("events"))
        about = self._about(place, entry)
        expectations = self._expectations((*place, "expect"), entry.get("expect"))
        if len(self.faults) > before:
            return None
        line = self.document.line_of(place)
        return Case(self.file, line, str(name), self.rule_set, about, tuple(deliveries), tuple(expectations))

    def _fault(self, place: Place, problem: str, remedy: str = "") -> None:
        self.faults.append(self.document.fault(place, problem, remedy))

    def _span_ms(self, place: Place, entry: dict[str, Any], key: str, default: int | None) -> int:
        value = entry.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value == default:
            return value
        if isinstance(value, str) and _span(value):
            return sum(int(count) * _UNITS[unit] for count, unit in _parts(value))
        self._fault(
            (*place, key), "missing" if key not in entry else "no length of time", "such as 30s or 1h30m"
        )
        return 0

    def _deliveries(self, place: Place, entries: Any) -> list[Delivery]:
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._fault(place, "expected a list of events", "events: [{at: 0s, principal: partner-1}]")
            return []
        found: list[Delivery] = []
        latest_ms = 0
        for index, entry in enumerate(entries):
            here = (*place, index)
            times = entry.get("times", 1)
            room = MOST_EVENTS - len(found)
            if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= room:
                self._fault((*here, "times"), f"expected a whole number from 1 to {room}")
                continue
            at_ms = self.now_ms + self._span_ms(here, entry, "at", None)
            every_ms = self._span_ms(here, entry, "every", 0)
            late_ms = self._span_ms(here, entry, "delivered", 0)
            for number in range(times):
                event_ms = at_ms + number * every_ms
                latest_ms = max(latest_ms, event_ms)
                append_ms = self.now_ms + late_ms + number * every_ms if late_ms else event_ms
                content = self._content(here, entry, event_ms, number + 1)
                if content is None:
                    break
                found.append(Delivery(append_ms, content))
        return found

    def _content(self, place: Place, entry: dict[str, Any], at_ms: int, number: int) -> Any:
        """Return the event or status of an entry, or None with its fault noted."""
        if "status_of" in entry:
            _check_keys(self.document, place, entry, (*_TIMING, *_STATUS_KEYS), self.faults)
            statuses = [status.value for status in CredentialStatus]
            if entry.get("becomes") not in statuses:
                self._fault((*place, "becomes"), f"expected one of {', '.join(statuses)}")
                return None
            credential = credential_subject(_REALM, _filled(str(entry["status_of"]), number))
            return StatusChange(credential, entry["becomes"], at_ms)
        fields = {key: _filled(value, number) for key, value in entry.items() if key not in _TIMING}
        defaults: dict[str, Any] = {"status": 200}
        if "principal" in fields:
            defaults["authenticated"] = True
        decode = find_format("canonical", self.file).decoder(_REALM, match=self.match)
        try:
            (event,) = decode(orjson.dumps({"time": at_ms, **defaults, **fields}))
        except RejectedRecordError as error:
            self._fault(place, f"no event: {error.detail}", "docs/events.md has its fields")
            return None
        except orjson.JSONEncodeError:
            self._fault(place, "no event: a value that JSON does not have", "put it in quotes")
            return None
        return event

    def _about(self, place: Place, entry: dict[str, Any]) -> frozenset[str]:
        """Return the ids of the rules whose findings count: those named, else all."""
        here, given = (*place, "about"), entry.get("about")
        if given is None:
            here, given = ("about",), self.document.value.get("about")
        if given is None:
            return frozenset(rule.id for rule in self.rule_set.rules)
        if not isinstance(given, list):
            self._fault(here, "expected a list of rules", "their title, or the beginning of their id")
            return frozenset()
        return frozenset(self._rule(here, name) for name in given)

    def _rule(self, place: Place, name: Any) -> str:
        rules = self.rule_set.rules
        found = [rule.id for rule in rules if name == rule.title]
        found = found or [
            rule.id for rule in rules if isinstance(name, str) and rule.id.startswith(name.lower())
        ]
        if len(found) == 1:
            return found[0]
        titles = ", ".join(sorted(rule.title for rule in rules))
        self._fault(place, "no such rule" if not found else "several rules", f"rules are: {titles}")
        return ""

    def _expectations(self, place: Place, value: Any) -> list[Expectation]:
        if value == "none":
            return [Expectation("exactly")]
        if not isinstance(value, dict) or not value:
            self._fault(place, "missing, or nothing expected", "expect: none, or {exactly: [{rule: …}]}")
            return []
        _check_keys(self.document, place, value, _EXPECT_KEYS, self.faults)
        found = []
        for kind in _EXPECT_KEYS:
            wanted, here = value.get(kind), (*place, kind)
            if kind not in value:
                continue
            if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 0:
                least = 0 if kind == "at_most" else wanted
                most = None if kind == "at_least" else wanted
                found.append(Expectation("at_least", least=least, most=most))
            elif isinstance(wanted, list) and kind != "at_most":
                found.append(
                    Expectation(kind, tuple(self._finding((*here, i), of) for i, of in enumerate(wanted)))
                )
            else:
                what = "a number" if kind == "at_most" else "a number, or a list of findings"
                self._fault(here, f"expected {what}")
        return found

    def _finding(self, place: Place, entry: Any) -> Expected:
        if not isinstance(entry, dict):
            self._fault(place, "expected a mapping", "{rule: …, subject: partner-1, at: 10m, value: 50}")
            return Expected()
        _check_keys(self.document, place, entry, _FINDING_KEYS, self.faults)
        for key, kind in (("subject", str), ("value", int), ("straggler", bool)):
            if key in entry and type(entry[key]) is not kind:
                self._fault((*place, key), f"expected a {'text' if kind is str else kind.__name__}")
        return Expected(
            rule=self._rule((*place, "rule"), entry["rule"]) if "rule" in entry else None,
            subject=entry.get("subject"),
            at_ms=self.now_ms + self._span_ms(place, entry, "at", None) if "at" in entry else None,
            value=entry.get("value"),
            straggler=entry.get("straggler"),
        )


def _filled(value: Any, number: int) -> Any:
    """Return a value with ``{n}`` replaced by how often the event came, from 1."""
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, list):
        return [_filled(part, number) for part in value]
    if isinstance(value, dict):
        return {key: _filled(part, number) for key, part in value.items()}
    return value
