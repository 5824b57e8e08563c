"""The dashboards of what is watched: on-call, detection."""

from __future__ import annotations

from typing import Final

from parts import (
    BAD,
    GOOD,
    ONE_IS_GOOD,
    Json,
    choice,
    dashboard,
    duration,
    graph,
    heat,
    latency,
    quantile,
    rate,
    rates,
    stat,
    steps,
    table,
    trouble,
    words,
)

RULES: Final = "max by (rule, title, level, mode, action, axis) (access_monitor_rule_info)"
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
            trouble(
                "Contained?",
                'sum(access_monitor_incident_info{state!~"enforced|held"}) or vector(0)',
                what="Open incidents of which no refusal was seen yet.",
                width=6,
                none="All contained",
            ),
            stat(
                "Open incidents",
                "sum(access_monitor_open_incidents) or vector(0)",
                what="Their responses have not ended.",
                width=3,
            ),
            trouble(
                "Requests leaked",
                "sum(increase(access_monitor_leaks_total[$__range])) or vector(0)",
                what="Times that requests were seen to succeed after the decision (the 1st, 2nd, 4th, 8th …).",
                width=3,
            ),
            duration(
                "Time to enforced, worst hundredth",
                quantile(0.99, "enforced_seconds", "$__range"),
                what="From the decision to the first refusal seen.",
                width=4,
                bad=5,
            ),
            stat(
                "Patients exposed, half of the incidents below",
                quantile(0.5, "incident_patients", "$__range"),
                what="Patients that a credential had read when it was contained.",
                width=4,
            ),
            duration(
                "Blind for",
                "access_monitor:blind_seconds",
                what="Since the newest event of any source last moved.",
                width=4,
                bad=300,
                odd=60,
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
            trouble(
                "Fuses blown",
                "max(access_monitor_fuses_blown) or vector(0)",
                what="What is automatic of their kind is held until a person resets them.",
                width=3,
                none="none",
            ),
            trouble(
                "Held for a person",
                "sum(access_monitor_held) or vector(0)",
                what="Responses that wait; their credentials stay active.",
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
            duration(
                "Lag",
                "max(access_monitor:lag_seconds:max)",
                what="How long the oldest record has waited.",
                width=4,
                bad=30,
                odd=5,
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
            duration(
                "Event to finding, worst hundredth",
                quantile(0.99, "finding_event_seconds", "$__range"),
                what="From the time of the request that exceeded the limit.",
                width=6,
                bad=5,
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
            rates(
                "Shadow against enforce",
                "findings_total",
                "mode, action",
                chosen,
                what="What would be done, and what is.",
            ),
            latency(
                "Event to finding",
                "finding_event_seconds",
                what="What an attack gains: gateway, log shipping and we.",
                limit=5,
            ),
            latency("Arrival to finding", "finding_arrival_seconds", what="Our share of it.", limit=5),
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
            latency(
                "Event to decision",
                "decision_seconds",
                what="Until the enforcer has decided.",
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
