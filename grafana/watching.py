"""The dashboards of what is watched: on-call, detection, feeds."""

from __future__ import annotations

from typing import Final

from parts import (
    BAD,
    GOOD,
    ODD,
    ONE_IS_GOOD,
    ZERO_IS_GOOD,
    Json,
    choice,
    dashboard,
    graph,
    heat,
    quantile,
    rate,
    stat,
    steps,
    table,
    words,
)

RULES: Final = "max by (rule, title, level, mode, action, axis) (access_monitor_rule_info)"
SOURCE: Final = choice("source", "Source", "access_monitor_events_total", "source")
RULE: Final = choice("rule", "Rule", "access_monitor_rule_info", "rule")
NEXT: Final = """
| What you see | Go to |
|---|---|
| Not contained, nothing leaks | wait for the first refusal; runbook `incident` |
| Not contained, requests leak | block at the gateway by hand; runbook `leak` |
| A gateway takes nothing | dashboard *Response*; runbook `delivery-stuck` |
| Many at once | look at the rule first; runbook `many-incidents` |
| Blind, or a role missing | no alert means nothing now; runbooks `blind`, `role-missing` |

`monitor status` shows the same from Kafka alone. `monitor incidents show INC-…` has the whole story, and who
to call. Runbooks are in `docs/runbooks/`.
"""


def on_call() -> Json:
    """Return the dashboard that says whether it is contained, and what to do next."""
    return dashboard(
        "access-monitor-on-call",
        "Access monitor: on-call",
        "Is it contained? What to do next.",
        [
            stat(
                "Contained?",
                'sum(access_monitor_incident_info{state!~"enforced|held"}) or vector(0)',
                what="Open incidents of which no refusal was seen yet.",
                thresholds=ZERO_IS_GOOD,
                texts={"0": ("All contained", GOOD)},
                width=6,
            ),
            stat(
                "Open incidents",
                "sum(access_monitor_open_incidents) or vector(0)",
                what="Their responses have not ended.",
                width=3,
            ),
            stat(
                "Requests leaked",
                "sum(increase(access_monitor_leaks_total[$__range])) or vector(0)",
                what="Times that requests were seen to succeed after the decision (the 1st, 2nd, 4th, 8th …).",
                thresholds=ZERO_IS_GOOD,
                width=3,
            ),
            stat(
                "Time to enforced, worst hundredth",
                quantile(0.99, "enforced_seconds", "$__range"),
                what="From the decision to the first refusal seen.",
                unit="s",
                thresholds=steps((None, GOOD), (5, BAD)),
                width=4,
            ),
            stat(
                "Patients exposed, half of the incidents below",
                quantile(0.5, "incident_patients", "$__range"),
                what="Patients that a credential had read when it was contained.",
                width=4,
            ),
            stat(
                "Blind for",
                "access_monitor:blind_seconds",
                what="Since the newest event of any source last moved.",
                unit="s",
                thresholds=steps((None, GOOD), (60, ODD), (300, BAD)),
                width=4,
            ),
            table(
                "Open incidents",
                f"access_monitor_incident_info * on (rule) group_left (title, level) max by (rule, title, level) ({RULES})",
                what="By name, the newest ones; state enforced means contained.",
                hide=("instance", "job", "Value"),
                width=14,
            ),
            words("What to do next", NEXT, width=10),
            table(
                "Alerts that fire",
                'ALERTS{alertname=~"AccessMonitor.*",alertstate="firing"}',
                what="The dead man's switch always does.",
                hide=("instance", "job", "Value", "alertstate"),
                width=14,
            ),
            stat(
                "Enforcer",
                "sum(access_monitor_enforcer_active) or vector(0)",
                what="Exactly one is active.",
                thresholds=steps((None, BAD), (1, GOOD), (2, BAD)),
                texts={"1": ("active", GOOD), "0": ("NONE", BAD)},
                width=3,
            ),
            stat(
                "Fuses blown",
                "max(access_monitor_fuses_blown) or vector(0)",
                what="What is automatic of their kind is held until a person resets them.",
                thresholds=ZERO_IS_GOOD,
                texts={"0": ("none", GOOD)},
                width=3,
            ),
            stat(
                "Held for a person",
                "sum(access_monitor_held) or vector(0)",
                what="Responses that wait; their credentials stay active.",
                thresholds=ZERO_IS_GOOD,
                width=3,
            ),
            stat(
                "Decision service",
                "min(access_monitor_authz_ready) or vector(0)",
                what="Every instance knows who is refused.",
                thresholds=ONE_IS_GOOD,
                texts={"1": ("ready", GOOD), "0": ("NOT READY", BAD)},
                width=3,
            ),
            stat(
                "Lag",
                "max(access_monitor:lag_seconds:max)",
                what="How long the oldest record has waited.",
                unit="s",
                thresholds=steps((None, GOOD), (5, ODD), (30, BAD)),
                width=4,
            ),
            graph(
                "Incidents by state",
                ("sum by (state) (access_monitor_open_incidents)", "{{state}}"),
                what="Enforced is proof: a refusal was seen.",
                stacked=True,
            ),
            graph(
                "Feed health",
                ("time() - max by (source) (access_monitor_source_moved_timestamp_seconds)", "{{source}}"),
                what="Since the newest event of each source last moved.",
                unit="s",
                limit=300,
            ),
        ],
        since="now-3h",
    )


def detection() -> Json:
    """Return the dashboard of what the rules find, and how quickly."""
    chosen = '{rule=~"$rule"}'
    return dashboard(
        "access-monitor-detection",
        "Access monitor: detection",
        "What the rules find, how quickly, and in which mode.",
        [
            stat(
                "Findings",
                f"sum(increase(access_monitor_findings_total{chosen}[$__range]))",
                what="Limits found exceeded in the time shown.",
                width=6,
            ),
            stat(
                "In shadow",
                'sum(increase(access_monitor_findings_total{rule=~"$rule",mode="shadow"}[$__range])) or vector(0)',
                what="Of rules that refuse nobody yet.",
                width=6,
            ),
            stat(
                "Event to finding, worst hundredth",
                quantile(0.99, "finding_event_seconds", "$__range"),
                what="From the time of the request that exceeded the limit.",
                unit="s",
                thresholds=steps((None, GOOD), (5, BAD)),
                width=6,
            ),
            stat(
                "Rule set version",
                "max(access_monitor_rules_version)",
                what="That intake routes by.",
                width=6,
            ),
            graph(
                "Findings by rule",
                (
                    f"{rate('findings_total', 'rule', chosen)} * on (rule) group_left (title) max by (rule, title) ({RULES})",
                    "{{title}}",
                ),
                what="Findings a second.",
                unit="cps",
            ),
            graph(
                "Shadow against enforce",
                (rate("findings_total", "mode, action", chosen), "{{mode}} {{action}}"),
                what="What would be done, and what is.",
                unit="cps",
            ),
            graph(
                "Event to finding",
                (quantile(0.5, "finding_event_seconds"), "half"),
                (quantile(0.99, "finding_event_seconds"), "99 %"),
                what="What an attack gains: gateway, log shipping and we.",
                unit="s",
                limit=5,
            ),
            graph(
                "Arrival to finding",
                (quantile(0.5, "finding_arrival_seconds"), "half"),
                (quantile(0.99, "finding_arrival_seconds"), "99 %"),
                what="Our share of it.",
                unit="s",
                limit=5,
            ),
            table(
                "Rules and thresholds",
                f"max by (rule) (access_monitor_rule_threshold{chosen}) * on (rule) group_left (title, level, mode, action, axis) {RULES}",
                what="The number from which on each rule finds.",
                width=14,
            ),
            graph(
                "Nearest to its threshold",
                (
                    f"max by (rule) (access_monitor_rule_closest_ratio{chosen}) * on (rule) group_left (title) max by (rule, title) ({RULES})",
                    "{{title}}",
                ),
                what="Highest value seen in the last minutes, as a share of the threshold: from 1 on a rule finds.",
                unit="percentunit",
                limit=1,
            ),
            graph(
                "Event to decision",
                (quantile(0.5, "decision_seconds"), "half"),
                (quantile(0.99, "decision_seconds"), "99 %"),
                what="Until the enforcer has decided.",
                unit="s",
                limit=5,
                width=10,
            ),
            graph(
                "Allow-lists end in",
                (
                    "min by (allow_list) (access_monitor_allow_list_expiry_timestamp_seconds) - time()",
                    "{{allow_list}}",
                ),
                what="From then on they leave out nobody.",
                unit="s",
            ),
            heat(
                "Patients exposed per incident",
                "sum by (le) (increase(access_monitor_incident_patients_bucket[$__rate_interval]))",
                what="When it was contained, or given up.",
                unit="short",
            ),
        ],
        variables=(RULE,),
        since="now-6h",
    )


def feeds() -> Json:
    """Return the dashboard of the feeds."""
    chosen = '{source=~"$source"}'
    return dashboard(
        "access-monitor-feeds",
        "Access monitor: feeds",
        "Whether every gateway's events arrive, whole and in time.",
        [
            stat(
                "Events a second",
                rate("events_total", "", chosen),
                what="Of the sources chosen.",
                unit="cps",
                width=6,
            ),
            stat(
                "Blind for",
                "access_monitor:blind_seconds",
                what="No source's newest event moved for so long.",
                unit="s",
                thresholds=steps((None, GOOD), (60, ODD), (300, BAD)),
                width=6,
            ),
            stat(
                "Unreadable",
                f"sum(increase(access_monitor_rejected_total{chosen}[$__range])) or vector(0)",
                what="Records in the dead letters.",
                thresholds=ZERO_IS_GOOD,
                width=6,
            ),
            stat(
                "Too late to count",
                'sum(increase(access_monitor_rows_total{outcome="too_late"}[$__range])) or vector(0)',
                what="Older than the longest timespan and the lateness allowed.",
                thresholds=ZERO_IS_GOOD,
                width=6,
            ),
            graph(
                "Events by source and outcome",
                (rate("events_total", "source, outcome", chosen), "{{source}} {{outcome}}"),
                what="unrouted: no authenticated credential.",
                unit="cps",
            ),
            graph(
                "Unreadable by reason",
                (rate("rejected_total", "source, reason", chosen), "{{source}} {{reason}}"),
                what="What cannot be read is not counted.",
                unit="cps",
            ),
            graph(
                "Newest event is old by",
                (
                    f"time() - max by (source) (access_monitor_source_watermark_timestamp_seconds{chosen} > 0)",
                    "{{source}}",
                ),
                what="By the gateway's clock: quiet, shipped late, or a clock behind.",
                unit="s",
                limit=900,
            ),
            graph(
                "Newest event moved",
                (
                    f"time() - max by (source) (access_monitor_source_moved_timestamp_seconds{chosen})",
                    "{{source}}",
                ),
                what="Since when it stands still.",
                unit="s",
                limit=900,
            ),
            graph(
                "Late, ahead, twice",
                (
                    rate(
                        "rows_total",
                        "outcome",
                        '{outcome=~"late|lost_late|too_late|clamped|duplicates|internal"}',
                    ),
                    "{{outcome}}",
                ),
                what="Rows that were not simply applied.",
                unit="cps",
            ),
            graph(
                "Silent for, against what is usual",
                (
                    f"time() - max by (source) (access_monitor_feed_last_record_timestamp_seconds{chosen} > 0)",
                    "{{source}}",
                ),
                (f"max by (source) (access_monitor_feed_silence_limit_seconds{chosen})", "{{source}}: limit"),
                what="The limit is learned for each hour of the week; 0 where nothing is known yet.",
                unit="s",
            ),
            graph(
                "Usual records a second",
                (f"sum by (source) (access_monitor_feed_usual_records_per_second{chosen})", "{{source}}"),
                what="At this hour of the week.",
                unit="cps",
            ),
            graph(
                "Delay and clocks",
                (f"max by (source) (access_monitor_feed_delay_seconds{chosen})", "{{source}}: delay"),
                (
                    f"max by (source, gateway) (access_monitor_gateway_clock_ahead_seconds{chosen})",
                    "{{source}} {{gateway}}: ahead",
                ),
                what="From an event to Kafka; how far a gateway's clock is ahead.",
                unit="s",
            ),
            graph(
                "Numbered records that are missing",
                (
                    (
                        "1 - sum by (source, gateway) (increase("
                        f"access_monitor_feed_numbered_records_total{chosen}[$__rate_interval])) / (max by (source,"
                        f" gateway) (delta(access_monitor_feed_highest_number{chosen}[$__rate_interval])) > 0)"
                    ),
                    "{{source}} {{gateway}}",
                ),
                what="Of gateways that number their records.",
                unit="percentunit",
            ),
            graph(
                "Secrets that gateways log",
                ("sum by (source, place) (access_monitor_secrets_in_logs_total)", "{{source}} {{place}}"),
                what="Dropped at decoding, but in the gateway's own log: replace the key, and its log format.",
            ),
            graph(
                "Dead letters withheld",
                (rate("rejected_withheld_total", "source, reason", chosen), "{{source}} {{reason}}"),
                what="Too many to give each one a dead letter.",
                unit="cps",
            ),
            graph(
                "Records that came before",
                (rate("repeated_records_total", "source", chosen), "{{source}}"),
                what="Sent again, and without an id of the gateway's: they count twice.",
                unit="cps",
            ),
            graph(
                "Pseudonym key",
                ("max by (epoch) (access_monitor_pseudonym_key_active)", "{{epoch}} counts"),
                ("max(access_monitor_key_overlap_end_timestamp_seconds > bool time())", "two keys at once"),
                what="The key that intake counts by.",
            ),
            graph(
                "Lag of intake",
                ('max by (topic) (access_monitor_lag_seconds{group=~".*intake"})', "{{topic}}"),
                what="How long the oldest record has waited.",
                unit="s",
                limit=30,
            ),
        ],
        variables=(SOURCE,),
    )
