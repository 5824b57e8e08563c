"""What follows where somebody asks to put a rule set in force: it is, or it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.core.events import RulesRecord
from monitor.core.plan import Plan
from monitor.response.lifecycle import Decision
from monitor.rulebook import compile_pattern
from monitor.wire.credentials import RulesInForce

if TYPE_CHECKING:
    from monitor.wire.credentials import PublishRules


def on_publish(current: RulesInForce | None, act: PublishRules) -> tuple[list[Decision], RulesInForce | None]:
    """Return the entries of the ledger, and what is in force after the act.

    A set that detect could not compile is refused, and the one before stays. The same revision again
    changes nothing.
    """
    if current is not None and current.revision == act.revision:
        return [], current
    version = (current.version if current else 0) + 1
    details: dict[str, Any] = {"revision": act.revision, "by": act.by, "reason": act.reason}
    try:
        Plan(
            RulesRecord(version, act.revision, act.document),
            allowed_lateness_ms=0,
            compile_pattern=compile_pattern,
            activated_ms=0,
        )
        details["rules"] = [rule["id"] for rule in act.document["rules"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        refused = {**details, "reason": "this monitor does not read that rule set"}
        return [Decision("rules_refused", refused)], current
    details["version"] = version
    rules = RulesInForce(
        version=version,
        revision=act.revision,
        document=act.document,
        text=act.text,
        published_ms=act.at_ms,
        by=act.by,
    )
    return [Decision("rules_activated", details)], rules
