"""The dashboards of what runs: engine, response."""

from __future__ import annotations

from parts import BAD, GOOD, Json, dashboard, duration, graph, latency, quantile, rate, rates, stat, steps


def engine() -> Json:
    """Return the dashboard of lag, throughput, state and Kafka."""
    return dashboard(
        "access-monitor-engine",
        "Access monitor: engine",
        "Lag, throughput, state, recovery, Kafka.",
        [
            stat(
                "Applied within 5 s",
                'sum(increase(access_monitor_apply_seconds_bucket{le="5.0"}[$__range])) / sum(increase(access_monitor_apply_seconds_count[$__range]))',
                what="Objective: 99.9 % within 5 s of arrival.",
                unit="percentunit",
                thresholds=steps((None, BAD), (0.999, GOOD)),
                width=6,
            ),
            stat(
                "Rows a second",
                rate("rows_total", "", '{outcome="applied"}'),
                what="An event has a row for each axis.",
                unit="cps",
                width=6,
            ),
            stat(
                "Subjects",
                "sum(access_monitor_subjects)",
                what="Credentials, patients and others in memory.",
                width=6,
            ),
            stat(
                "Roles at work",
                "count(max by (role) (access_monitor_role_ready) == 1)",
                what="intake, detect, enforce, authz.",
                thresholds=steps((None, BAD), (4, GOOD)),
                width=6,
            ),
            graph(
                "Lag",
                ("access_monitor:lag_seconds:max", "{{group}} {{topic}}"),
                what="How long the oldest record has waited.",
                unit="s",
                limit=30,
            ),
            graph(
                "Lag in records",
                ("sum by (group, topic) (access_monitor_lag_records)", "{{group}} {{topic}}"),
                what="Between position and end.",
            ),
            graph(
                "Arrival to applied",
                (quantile(0.5, "apply_seconds"), "half"),
                (quantile(0.99, "apply_seconds"), "99 %"),
                (quantile(0.999, "apply_seconds"), "99.9 %"),
                what="Over both hops.",
                unit="s",
                limit=5,
            ),
            graph(
                "Throughput",
                (rate("rows_total", "outcome"), "{{outcome}}"),
                (rate("routed_records_total"), "routed records"),
                what="Rows by what became of them; Kafka records of intake.",
                unit="cps",
            ),
            graph(
                "Flush",
                (quantile(0.5, "flush_seconds"), "half"),
                (quantile(0.99, "flush_seconds"), "99 %"),
                ("max(access_monitor_unsaved_seconds)", "oldest unsaved change"),
                what="Time to make state durable, and what is not yet.",
                unit="s",
                limit=60,
            ),
            graph(
                "State written",
                (rate("state_bytes_total"), "bytes a second"),
                what="Into the state topic.",
                unit="Bps",
            ),
            graph(
                "State held",
                ("sum(access_monitor_state_held_bytes)", "bytes, packed"),
                what="Windows, histories and subjects at rest, of all workers.",
                unit="bytes",
            ),
            graph(
                "Windows in use",
                ("sum(access_monitor_windows)", "windows"),
                ("sum(access_monitor_subjects)", "subjects, with those at rest"),
                what="At the last round over all subjects.",
            ),
            graph(
                "Recovery",
                ("sum by (partition) (access_monitor_recovery_records)", "left in {{partition}}"),
                what="State records that are still to be read.",
                width=8,
            ),
            graph(
                "Last recovery took",
                ("max by (instance) (access_monitor_recovery_seconds)", "{{instance}}"),
                what="Of a partition.",
                unit="s",
                width=8,
            ),
            graph(
                "Partitions",
                ("sum by (group, topic) (access_monitor_partitions)", "{{group}} {{topic}}"),
                what="A sum that falls: nobody reads them.",
                width=8,
            ),
            graph(
                "Blind by faults of brokers",
                (
                    "sum by (role) (increase(access_monitor_blind_seconds_total[$__rate_interval]))",
                    "{{role}}",
                ),
                what="Left the group and joined again.",
                unit="s",
                width=8,
            ),
            graph(
                "Gaps",
                ("sum(increase(access_monitor_coverage_gaps_total[$__rate_interval]))", "routed records"),
                what="Ignored; their sender repeats them.",
                width=8,
            ),
            graph(
                "Lost to retention",
                (
                    "sum by (group, topic) (increase(access_monitor_gap_records_total[$__rate_interval]))",
                    "{{group}} {{topic}}",
                ),
                what="Deleted before they were read: all at 0 is right.",
                width=8,
            ),
            graph(
                "Roles",
                ("sum by (role) (access_monitor_role_ready)", "{{role}}"),
                what="Processes that do the work of each.",
                width=8,
            ),
            graph(
                "Memory",
                ('process_resident_memory_bytes{job=~"access-monitor.*"}', "{{instance}}"),
                what="Resident.",
                unit="bytes",
            ),
            graph(
                "Cores",
                (
                    'rate(process_cpu_seconds_total{job=~"access-monitor.*"}[$__rate_interval])',
                    "{{instance}}",
                ),
                what="One process uses one at most.",
                limit=0.95,
            ),
        ],
    )


def response() -> Json:
    """Return the dashboard of what gateways were told, and what they asked."""
    return dashboard(
        "access-monitor-response",
        "Access monitor: response",
        "Decisions, deliveries by adapter, the decision service, pages.",
        [
            stat(
                "Enforced within 5 s",
                'sum(increase(access_monitor_enforced_seconds_bucket{le="5.0"}[$__range])) / sum(increase(access_monitor_enforced_seconds_count[$__range]))',
                what="Objective: 99 % of what was proven.",
                unit="percentunit",
                thresholds=steps((None, BAD), (0.99, GOOD)),
                width=6,
            ),
            duration(
                "Oldest undelivered",
                "max(access_monitor_oldest_undelivered_seconds)",
                what="A status that a gateway has not taken.",
                width=6,
                bad=30,
                odd=5,
            ),
            stat(
                "Refused now",
                "sum(max by (status) (access_monitor_authz_credentials)) or vector(0)",
                what="Known to the decision service.",
                width=6,
            ),
            duration(
                "Decision service, worst hundredth",
                quantile(0.99, "authz_seconds", "$__range"),
                what="Each request of each client waits for it.",
                width=6,
                bad=0.05,
                odd=0.01,
            ),
            graph(
                "Decisions",
                ("sum by (kind) (increase(access_monitor_decisions_total[$__rate_interval]))", "{{kind}}"),
                what="Entries of the ledger.",
            ),
            graph(
                "Decision to acceptance and proof",
                (quantile(0.99, "accepted_seconds"), "accepted, 99 %"),
                (quantile(0.99, "enforced_seconds"), "enforced, 99 %"),
                what="The gateway has it; a refusal was seen.",
                unit="s",
                limit=5,
            ),
            graph(
                "Deliveries",
                (
                    "sum by (adapter, result) (increase(access_monitor_deliveries_total[$__rate_interval]))",
                    "{{adapter}} {{result}}",
                ),
                what="Calls to gateways.",
            ),
            graph(
                "Gateways that take nothing",
                ("max by (adapter) (access_monitor_adapter_breaker_open)", "{{adapter}}: breaker open"),
                ("max by (adapter) (access_monitor_adapter_disabled)", "{{adapter}}: wants no calls"),
                ("max by (adapter) (access_monitor_dead_letters)", "{{adapter}}: given up"),
                (
                    "sum by (adapter) (increase(access_monitor_drifts_total[$__rate_interval]))",
                    "{{adapter}}: forgot",
                ),
                what="All at 0 is right.",
            ),
            graph(
                "Held, by what holds it",
                ("max by (reason) (access_monitor_held)", "{{reason}}"),
                what="The credentials stay active.",
            ),
            graph(
                "Held: patients read, pages, break-glass",
                ("max(access_monitor_held_patients)", "most patients of one"),
                ("sum(increase(access_monitor_held_pages_total[$__rate_interval]))", "pages"),
                (
                    "max by (glass) (access_monitor_break_glass_until_timestamp_seconds > bool time())",
                    "{{glass}} is on",
                ),
                what="What waits for a person, and whether automation is switched off.",
            ),
            rates(
                "Answers of the decision service",
                "authz_decisions_total",
                "decision",
                what="allowed, or why not.",
            ),
            latency("Time to answer", "authz_seconds", what="Of the decision service.", limit=0.05),
            graph(
                "Sign of life of the enforcer is old by",
                (
                    "time() - max by (instance) (access_monitor_authz_heartbeat_timestamp_seconds > 0)",
                    "{{instance}}",
                ),
                what="As the decision service sees it.",
                unit="s",
                limit=30,
            ),
            graph(
                "Pages",
                (
                    "sum by (alertmanager, result) (increase(access_monitor_pages_total[$__rate_interval]))",
                    "{{alertmanager}} {{result}}",
                ),
                (quantile(0.99, "page_seconds"), "seconds to the first, 99 %"),
                what="Pushed to each Alertmanager.",
            ),
        ],
    )
