"""Metrics that no dashboard and no alert reads, and what for they are there."""

from __future__ import annotations

from typing import Final

#: Metrics on no dashboard and in no alert, for questions that somebody asks once.
AD_HOC: Final = {
    "access_monitor_drill_timestamp_seconds": "when each gateway was last drilled",
    "access_monitor_build_info": "which version runs where",
    "access_monitor_rules_last_reload_successful": "the alert counts failures; this tells the last one",
    "access_monitor_rules_last_reload_success_timestamp_seconds": "when rules were last reloaded",
    "access_monitor_pseudonym_key_begin_timestamp_seconds": "when a key that waits will count",
    "access_monitor_takeovers_total": "how often the enforcer moved",
    "access_monitor_operator_acts_total": "what people did; the ledger has who and why",
    "access_monitor_operator_refused_total": "who was not let in, after a complaint",
}
