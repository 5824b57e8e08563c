"""What a detector tells about the rows that it applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from monitor.core.events import SourceId
    from monitor.core.evidence import Evidence, PackedEvidence

#: What is counted: rows applied; rows that an earlier record covered; records after a hole; events
#: too old for a rule that would count them; events late for a window (by window) and late for its stragglers too; event
#: times ahead of append time; rows that a recovered subject already holds; rows whose judging failed;
#: rule sets that could not be read.
COUNTERS: Final = (
    "applied",
    "duplicates",
    "gaps",
    "too_late",
    "late",
    "lost_late",
    "clamped",
    "replay_skipped",
    "internal",
    "rules_refused",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One row whose judging raised an exception, named by its type only: the text may hold data."""

    source: SourceId
    offset: int
    error: str


def _no_counts() -> dict[str, int]:
    return dict.fromkeys(COUNTERS, 0)


@dataclass(slots=True)
class Outcomes:
    """What happened since the outcomes were last taken."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)
    evidence: list[Evidence | PackedEvidence] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=_no_counts)
