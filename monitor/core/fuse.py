"""The fuse: a ceiling on what happens automatically, so that a mistake cannot cut off everybody.

It is kept per class of credential, and within a class per rule: whoever makes up 500 accounts uses up
the ceiling of accounts, and partner keys are still protected. A fuse that has blown holds everything of
its kind until a person resets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: (time in epoch ms, class, rule, subject)
Entry = tuple[int, str, str, str]

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

    acted: tuple[Entry, ...] = ()
    found: tuple[Entry, ...] = ()
    blown: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def admit(self, limits: Limits, entry: Entry) -> tuple[Fuse, str | None]:
        """Note that something automatic is about to happen; return the fuse that holds it, None if none.

        What is held is not counted as done.
        """
        at_ms, of_class, rule, subject = entry
        acted = tuple(done for done in self.acted if done[0] > at_ms - limits.interval_ms)
        found = tuple(seen for seen in self.found if seen[0] > at_ms - limits.many_ms)
        names = (f"{CLASS}/{of_class}", f"{RULE}/{rule}/{of_class}", f"{MANY}/{rule}/{of_class}")
        for name in names:
            if name in self.blown:
                return replace(self, acted=acted, found=found), name
        if not any(seen[1:] == entry[1:] for seen in found):
            found = (*found, entry)
        state = Fuse(acted, found, self.blown)
        for name, held, limit, span_ms, what in (
            (names[2], _subjects(found, of_class, rule), limits.many, limits.many_ms, "found by one rule"),
            (
                names[0],
                _subjects(acted, of_class) | {subject},
                limits.of_class(of_class) + 1,
                limits.interval_ms,
                "refused",
            ),
            (
                names[1],
                _subjects(acted, of_class, rule) | {subject},
                limits.rule_ceiling + 1,
                limits.interval_ms,
                "refused by one rule",
            ),
        ):
            if len(held) >= limit:
                why = f"{len(held)} credentials of class {of_class} {what} within {_words(span_ms)}"
                return replace(state, blown={**self.blown, name: (at_ms, why)}), name
        return replace(state, acted=(*(done for done in acted if done[1:] != entry[1:]), entry)), None

    def used(self, limits: Limits, name: str, at_ms: int) -> tuple[int, int, int]:
        """Return (credentials counted, ceiling, interval in ms) of a fuse at a time."""
        kind, _, rest = name.partition("/")
        if kind == CLASS:
            entries = [done for done in self.acted if done[0] > at_ms - limits.interval_ms]
            return len(_subjects(entries, rest)), limits.of_class(rest), limits.interval_ms
        rule, _, of_class = rest.rpartition("/")
        if kind == RULE:
            entries = [done for done in self.acted if done[0] > at_ms - limits.interval_ms]
            return len(_subjects(entries, of_class, rule)), limits.rule_ceiling, limits.interval_ms
        entries = [seen for seen in self.found if seen[0] > at_ms - limits.many_ms]
        return len(_subjects(entries, of_class, rule)), limits.many, limits.many_ms

    def names(self) -> tuple[str, ...]:
        """Return the fuses that something is counted for, or that have blown, sorted."""
        names = {f"{CLASS}/{of_class}" for _, of_class, _, _ in self.acted}
        names |= {f"{RULE}/{rule}/{of_class}" for _, of_class, rule, _ in self.acted}
        names |= {f"{MANY}/{rule}/{of_class}" for _, of_class, rule, _ in self.found}
        return tuple(sorted(names | set(self.blown)))

    def reset(self, names: Sequence[str]) -> Fuse:
        """Arm fuses again; what they counted begins anew."""
        return Fuse(
            tuple(
                done
                for done in self.acted
                if f"{CLASS}/{done[1]}" not in names and f"{RULE}/{done[2]}/{done[1]}" not in names
            ),
            tuple(seen for seen in self.found if f"{MANY}/{seen[2]}/{seen[1]}" not in names),
            {name: blown for name, blown in self.blown.items() if name not in names},
        )


def _subjects(entries: Sequence[Entry], of_class: str, rule: str | None = None) -> set[str]:
    return {entry[3] for entry in entries if entry[1] == of_class and rule in (None, entry[2])}


def _words(span_ms: int) -> str:
    minutes, seconds = divmod(span_ms // 1000, 60)
    return f"{minutes} min" if not seconds else f"{span_ms // 1000} s"
