"""The fuse: a ceiling on what happens automatically, so that a mistake cannot cut off everybody.

It is kept per class of credential, and within a class per rule: whoever makes up 500 accounts uses up
the ceiling of accounts, and partner keys are still protected. A fuse that has blown holds everything of
its kind until a person resets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: (time in epoch ms, class, rule, subject)
Entry = tuple[int, str, str, str]
#: (class, rule) → subject → when, in epoch ms. Counts are lengths, so one more costs no look at all others.
Times = Mapping[tuple[str, str], Mapping[str, int]]

CLASS: Final = "class"
RULE: Final = "rule"
MANY: Final = "many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may happen automatically; times in milliseconds.

    In ``(t - interval_ms, t]`` at most `ceilings[class]` (or `ceiling`) credentials of a class, and
    `rule_ceiling` by one rule in it. Where one rule finds `many` credentials of a class within
    ``(t - many_ms, t]``, it is the rule that is wrong, or all are attacked: a person must look.
    """

    interval_ms: int
    ceiling: int
    ceilings: Mapping[str, int]
    rule_ceiling: int
    many: int
    many_ms: int

    def of_class(self, name: str) -> int:
        """Return the ceiling of a class."""
        return self.ceilings.get(name, self.ceiling)


@dataclass(frozen=True, slots=True)
class Fuse:
    """What happened lately, and what has blown: name → (time in epoch ms, why).

    Names: ``class/partner``, ``rule/<rule>/partner``, ``many/<rule>/partner``. A credential counts once
    within an interval.
    """

    acted: Times = field(default_factory=dict)
    found: Times = field(default_factory=dict)
    blown: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def admit(self, limits: Limits, entry: Entry) -> tuple[Fuse, str | None]:
        """Note that something automatic is about to happen; return the fuse that holds it, None if none.

        What is held is not counted as done.
        """
        at_ms, of_class, rule, subject = entry
        acted = _after(self.acted, at_ms - limits.interval_ms)
        found = _after(self.found, at_ms - limits.many_ms)
        kind = of_class, rule
        names = (f"{CLASS}/{of_class}", f"{RULE}/{rule}/{of_class}", f"{MANY}/{rule}/{of_class}")
        for name in names:
            if name in self.blown:
                return replace(self, acted=acted, found=found), name
        if subject not in found.get(kind, ()):
            found = _with(found, kind, subject, at_ms)
        after = _with(acted, kind, subject, at_ms)
        for name, held, most, span_ms, what in (
            (names[2], len(found[kind]), limits.many - 1, limits.many_ms, "found by one rule"),
            (
                names[0],
                _count(after, of_class, limits.of_class(of_class)),
                limits.of_class(of_class),
                limits.interval_ms,
                "refused",
            ),
            (
                names[1],
                len(after[kind]),
                limits.rule_ceiling,
                limits.interval_ms,
                "refused by one rule",
            ),
        ):
            if held > most:
                why = f"{held} credentials of class {of_class} {what} within {_words(span_ms)}"
                return Fuse(acted, found, {**self.blown, name: (at_ms, why)}), name
        return Fuse(after, found, self.blown), None

    def used(self, limits: Limits, name: str, at_ms: int) -> tuple[int, int, int]:
        """Return (credentials counted, ceiling, interval in ms) of a fuse at a time."""
        kind, _, rest = name.partition("/")
        acted = _after(self.acted, at_ms - limits.interval_ms)
        if kind == CLASS:
            return _count(acted, rest), limits.of_class(rest), limits.interval_ms
        rule, _, of_class = rest.rpartition("/")
        if kind == RULE:
            return len(acted.get((of_class, rule), ())), limits.rule_ceiling, limits.interval_ms
        found = _after(self.found, at_ms - limits.many_ms)
        return len(found.get((of_class, rule), ())), limits.many, limits.many_ms

    def names(self) -> tuple[str, ...]:
        """Return the fuses that something is counted for, or that have blown, sorted."""
        names = {f"{CLASS}/{of_class}" for of_class, _ in self.acted}
        names |= {f"{RULE}/{rule}/{of_class}" for of_class, rule in self.acted}
        names |= {f"{MANY}/{rule}/{of_class}" for of_class, rule in self.found}
        return tuple(sorted(names | set(self.blown)))

    def reset(self, names: Sequence[str]) -> Fuse:
        """Arm fuses again; what they counted begins anew."""
        return Fuse(
            {
                (of_class, rule): times
                for (of_class, rule), times in self.acted.items()
                if f"{CLASS}/{of_class}" not in names and f"{RULE}/{rule}/{of_class}" not in names
            },
            {
                (of_class, rule): times
                for (of_class, rule), times in self.found.items()
                if f"{MANY}/{rule}/{of_class}" not in names
            },
            {name: blown for name, blown in self.blown.items() if name not in names},
        )


def entries_of(times: Times) -> Iterator[Entry]:
    """Yield what was counted, one entry each."""
    for (of_class, rule), subjects in times.items():
        for subject, at_ms in subjects.items():
            yield at_ms, of_class, rule, subject


def times_of(entries: Iterable[Entry]) -> Times:
    """Return what `entries` count; of equal ones the last."""
    times: dict[tuple[str, str], dict[str, int]] = {}
    for at_ms, of_class, rule, subject in entries:
        times.setdefault((of_class, rule), {})[subject] = at_ms
    return times


def _after(times: Times, before_ms: int) -> Times:
    """Return those later than a time; what has none is left out."""
    kept: dict[tuple[str, str], Mapping[str, int]] = {}
    for kind, subjects in times.items():
        if min(subjects.values()) > before_ms:
            kept[kind] = subjects
        elif some := {subject: at_ms for subject, at_ms in subjects.items() if at_ms > before_ms}:
            kept[kind] = some
    return kept


def _with(times: Times, kind: tuple[str, str], subject: str, at_ms: int) -> Times:
    return {**times, kind: {**times.get(kind, {}), subject: at_ms}}


def _count(times: Times, of_class: str, enough: int = 0) -> int:
    """Count the credentials of a class, each once; a number up to `enough` may be too high."""
    of_rules = [subjects for (name, _), subjects in times.items() if name == of_class]
    at_most = sum(map(len, of_rules))
    return at_most if at_most <= enough else len(set().union(*of_rules))


def _words(span_ms: int) -> str:
    minutes, seconds = divmod(span_ms // 1000, 60)
    return f"{minutes} min" if not seconds else f"{span_ms // 1000} s"
