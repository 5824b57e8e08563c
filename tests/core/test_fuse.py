"""The fuse: at most the ceiling, whatever comes in whatever order, and one class never uses up another's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.fuse import Entry, Fuse, Limits
from monitor.wire.safety import fuse_of, fuse_record

LIMITS = Limits(interval_ms=100, ceiling=3, ceilings={"account": 5}, rule_ceiling=2, many=4, many_ms=20)
WIDE = Limits(interval_ms=3_600_000, ceiling=20, ceilings={}, rule_ceiling=50, many=50, many_ms=60_000)
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from(["partner", "account"]), st.sampled_from("rs"), st.integers(0, 9)
    ),
    max_size=60,
)


def admit_all(
    limits: Limits, entries: list[Entry], fuse: Fuse | None = None
) -> tuple[Fuse, list[Entry], list[Entry]]:
    """Return the fuse after all, what it let through, and what it holds."""
    fuse = fuse or Fuse()
    through: list[Entry] = []
    held: list[Entry] = []
    for entry in entries:
        fuse, name = fuse.admit(limits, entry)
        (held if name else through).append(entry)
    return fuse, through, held


@given(steps=ENTRIES)
def test_no_ceiling_is_ever_exceeded_and_nothing_is_forgotten(steps: list[tuple[int, str, str, int]]):
    """Brute force over all that was let through, at each moment."""
    at, entries = 0, []
    for later, of_class, rule, subject in steps:
        at += later
        entries.append((at, of_class, rule, f"gate/{of_class}-{subject}"))
    fuse, through, held = admit_all(LIMITS, entries)
    assert sorted(through + held) == sorted(entries)
    for moment, *_ in entries:
        window = [entry for entry in through if moment - LIMITS.interval_ms < entry[0] <= moment]
        for of_class in ("partner", "account"):
            subjects = {entry[3] for entry in window if entry[1] == of_class}
            assert len(subjects) <= LIMITS.of_class(of_class)
            for rule in "rs":
                by_rule = {entry[3] for entry in window if entry[1:3] == (of_class, rule)}
                assert len(by_rule) <= LIMITS.rule_ceiling
    for _, of_class, rule, _ in held:
        names = {f"class/{of_class}", f"rule/{rule}/{of_class}", f"many/{rule}/{of_class}"}
        assert names & set(fuse.blown), "what is held names a fuse that has blown"


@given(steps=ENTRIES)
def test_what_one_class_does_changes_nothing_for_another(steps: list[tuple[int, str, str, int]]):
    at, entries = 0, []
    for later, of_class, rule, subject in steps:
        at += later
        entries.append((at, of_class, rule, f"gate/{of_class}-{subject}"))
    _, through, _ = admit_all(LIMITS, entries)
    partners = [entry for entry in entries if entry[1] == "partner"]
    _, alone, _ = admit_all(LIMITS, partners)
    assert [entry for entry in through if entry[1] == "partner"] == alone


def test_throwaway_accounts_leave_the_ceiling_of_partners_alone():
    accounts: list[Entry] = [(n, "account", "r", f"gate/account-{n}") for n in range(500)]
    fuse, through, held = admit_all(WIDE, accounts)
    assert (len(through), len(held)) == (20, 480)
    fuse, name = fuse.admit(WIDE, (500, "partner", "r", "gate/partner-1"))
    assert name is None


def test_a_rule_that_finds_many_at_once_refuses_nobody_more():
    limits = Limits(interval_ms=1000, ceiling=100, ceilings={}, rule_ceiling=100, many=5, many_ms=10)
    slow, through, _ = admit_all(limits, [(20 * n, "partner", "r", f"g/{n}") for n in range(10)])
    assert len(through) == 10
    fuse, through, held = admit_all(limits, [(300 + n, "partner", "r", f"g/x{n}") for n in range(10)], slow)
    assert (len(through), len(held)) == (4, 6)
    assert list(fuse.blown) == ["many/r/partner"]
    assert fuse.admit(limits, (310, "partner", "s", "g/y"))[1] is None, "another rule goes on"


def test_a_credential_counts_once_and_what_is_held_not_at_all():
    again: list[Entry] = [(n, "partner", "r", "g/1") for n in range(9)]
    fuse, through, held = admit_all(LIMITS, again)
    assert (len(through), held) == (9, [])
    fuse, _, held = admit_all(LIMITS, [(10, "partner", "r", f"g/{n}") for n in range(2, 9)], fuse)
    assert len(held) == 6
    assert fuse.used(LIMITS, "rule/r/partner", 10) == (2, 2, 100)


def test_a_fuse_that_has_blown_holds_until_it_is_reset_and_then_counts_anew():
    fuse, _, _ = admit_all(LIMITS, [(n, "partner", "r", f"g/{n}") for n in range(4)])
    late: Entry = (10_000, "partner", "r", "g/9")
    fuse, name = fuse.admit(LIMITS, late)
    assert name == "rule/r/partner", "time does not mend it"
    assert fuse.admit(LIMITS, (10_000, "account", "r", "g/a"))[1] is None
    assert "rule/r/partner" in fuse.names()
    fuse = fuse.reset(["rule/r/partner"])
    assert fuse.blown == {}
    assert fuse.admit(LIMITS, late)[1] is None


@given(
    steps=st.lists(
        st.tuples(
            st.integers(-5, 30),
            st.sampled_from(["partner", "account"]),
            st.sampled_from("rs"),
            st.integers(0, 9),
            st.sampled_from([None] * 15 + ["class/partner", "rule/r/partner", "many/s/account"]),
        ),
        max_size=60,
    )
)
def test_it_says_what_a_plain_list_of_all_says(steps: list[tuple[int, str, str, int, str | None]]):
    """Also where the clock goes back a little, and where it is reset in between."""
    at, fuse, plain = 1000, Fuse(), PlainFuse()
    for later, of_class, rule, subject, reset in steps:
        at += later
        entry = at, of_class, rule, f"gate/{subject}"
        fuse, name = fuse.admit(LIMITS, entry)
        assert name == plain.admit(LIMITS, entry)
        if reset is not None:
            fuse = fuse.reset([reset])
            plain.reset(reset)
        assert dict(fuse.blown) == plain.blown
        assert fuse_of(fuse_record(fuse)) == fuse
        for known in fuse.names():
            assert fuse.used(LIMITS, known, at)[0] == plain.used(LIMITS, known, at)


class PlainFuse:
    """All that ever happened in two lists, looked through each time."""

    def __init__(self) -> None:
        self.acted: list[Entry] = []
        self.found: list[Entry] = []
        self.blown: dict[str, tuple[int, str]] = {}

    def admit(self, limits: Limits, entry: Entry) -> str | None:
        """Return the fuse that holds it."""
        at_ms, of_class, rule, _ = entry
        self.acted = [one for one in self.acted if one[0] > at_ms - limits.interval_ms]
        self.found = [one for one in self.found if one[0] > at_ms - limits.many_ms]
        by_class, by_rule, many = f"class/{of_class}", f"rule/{rule}/{of_class}", f"many/{rule}/{of_class}"
        for name in (by_class, by_rule, many):
            if name in self.blown:
                return name
        if all(one[1:] != entry[1:] for one in self.found):
            self.found.append(entry)
        before = self.acted
        self.acted = [*(one for one in before if one[1:] != entry[1:]), entry]
        of = f"credentials of class {of_class}"
        for name, most, why in (
            (many, limits.many - 1, f"{of} found by one rule within {limits.many_ms // 1000} s"),
            (by_class, limits.of_class(of_class), f"{of} refused within {limits.interval_ms // 1000} s"),
            (by_rule, limits.rule_ceiling, f"{of} refused by one rule within {limits.interval_ms // 1000} s"),
        ):
            count = self.used(limits, name, at_ms)
            if count > most:
                self.acted = before
                self.blown[name] = (at_ms, f"{count} {why.replace(' 0 s', ' 0 min')}")
                return name
        return None

    def used(self, limits: Limits, name: str, at_ms: int) -> int:
        """Count the credentials of a fuse."""
        kind, *rule, of_class = name.split("/")
        counted, span_ms = (
            (self.found, limits.many_ms) if kind == "many" else (self.acted, limits.interval_ms)
        )
        return len(
            {
                one[3]
                for one in counted
                if one[0] > at_ms - span_ms and one[1] == of_class and rule in ([], [one[2]])
            }
        )

    def reset(self, name: str) -> None:
        """Arm it again."""
        kind, *rule, of_class = name.split("/")
        keep = "found" if kind == "many" else "acted"
        kept = [one for one in getattr(self, keep) if one[1] != of_class or rule not in ([], [one[2]])]
        setattr(self, keep, kept)
        self.blown.pop(name, None)
