"""What people do with automation as a whole: the fuse, and the two glasses that can be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from monitor.response.answers import Answer, because, done, refused, unchanged
from monitor.response.incidents import dismiss
from monitor.response.lifecycle import request
from monitor.response.states import Decision, Step, changed
from monitor.wire import acts
from monitor.wire.safety import LONGEST_ALLOW_ALL_MS, Glass

if TYPE_CHECKING:
    from monitor.response.casebook import Casebook
    from monitor.wire.safety import BreakGlass

_HOUR_MS: Final = 3_600_000
#: Longest time of a pause: somebody must say so again.
LONGEST_PAUSE_MS: Final = 24 * _HOUR_MS

Switch = acts.ResetFuse | acts.PauseAutomation | acts.ResumeAutomation | acts.AllowAll | acts.EndAllowAll


def on_switch(book: Casebook, act: Switch, now_ms: int) -> Answer:
    """Return what follows from an act on automation as a whole."""
    glass = book.glass
    match act:
        case acts.ResetFuse():
            return _reset(book, act, now_ms)
        case acts.PauseAutomation():
            if not 0 < act.for_ms <= LONGEST_PAUSE_MS:
                return refused("a pause lasts up to 24 hours; pause again after that")
            text = "nobody is refused automatically meanwhile; who is refused stays refused"
            return _broken("automation_paused", act, act.for_ms, now_ms, text, glass)
        case acts.AllowAll():
            if not 0 < act.for_ms <= LONGEST_ALLOW_ALL_MS:
                return refused("everybody is let through for up to 4 hours; ask again after that")
            text = "the decision service lets everybody through meanwhile"
            return _broken("allow_all", act, act.for_ms, now_ms, text, glass)
        case acts.ResumeAutomation():
            if not book.is_paused(now_ms):
                return unchanged("automation is not paused")
            return _mended(
                "automation_resumed",
                act,
                "limits refuse credentials again",
                msgspec.structs.replace(glass, paused=None),
            )
        case acts.EndAllowAll():
            if glass.allow_all is None or glass.allow_all.until_ms <= now_ms:
                return unchanged("the decision service refuses as it should")
            return _mended(
                "allow_all_ended",
                act,
                "the decision service refuses again, as decided",
                msgspec.structs.replace(glass, allow_all=None),
            )


def on_tick(book: Casebook, now_ms: int) -> Step:
    """Return the end of what was switched off and is over, or nothing."""
    step = Step()
    glass = book.glass
    for name, kind in (("paused", "automation_resumed"), ("allow_all", "allow_all_ended")):
        broken: Glass | None = getattr(glass, name)
        if broken is not None and broken.until_ms <= now_ms:
            step.decisions.append(Decision(kind, {"by": "its time is over", "since_ms": broken.since_ms}))
            glass = msgspec.structs.replace(glass, **{name: None})
            step.glass = glass
    return step


def _broken(  # noqa: PLR0917 - all that it is
    kind: str,
    act: acts.PauseAutomation | acts.AllowAll,
    for_ms: int,
    now_ms: int,
    text: str,
    glass: BreakGlass,
) -> Answer:
    broken = Glass(since_ms=now_ms, until_ms=now_ms + for_ms, by=act.by, reason=act.reason)
    name = "paused" if isinstance(act, acts.PauseAutomation) else "allow_all"
    step = Step([Decision(kind, {**because(act), "until_ms": broken.until_ms})])
    step.glass = msgspec.structs.replace(glass, **{name: broken})
    return done(text, step)


def _mended(kind: str, act: Switch, text: str, glass: BreakGlass) -> Answer:
    return done(text, Step([Decision(kind, because(act))], glass=glass))


def _reset(book: Casebook, act: acts.ResetFuse, now_ms: int) -> Answer:
    blown = book.fuse.blown
    names = list(blown) if act.fuse is None else [act.fuse]
    if not blown:
        return unchanged("no fuse has blown")
    if act.fuse is not None and act.fuse not in blown:
        return refused(f"{act.fuse} has not blown; these have: {', '.join(sorted(blown))}")
    step = Step([Decision("fuse_reset", {**because(act), "fuses": names, "then": act.then})])
    step.fuse = book.fuse.reset(names)
    for record in book.records.values():
        if record.state != "held" or record.held != "fuse" or record.fuse not in names:
            continue
        if act.then == "dismiss":
            step.more.append(dismiss(record, act, now_ms))
        else:
            by_person = changed(record, by=act.by, reason=act.reason)
            step.more.append(request(book, Step(), by_person, now_ms, because(act)))
    word = "dismissed" if act.then == "dismiss" else "going on"
    return done(f"{len(names)} reset; {len(step.more)} held responses are {word}", step)
