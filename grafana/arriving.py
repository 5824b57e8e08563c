"""The dashboard of what arrives: feeds."""

from __future__ import annotations

from typing import Final

from parts import (
    Json,
    choice,
    dashboard,
    duration,
    graph,
    rate,
    rates,
    stat,
    trouble,
)

SOURCE: Final = choice("source", "Source", "access_monitor_events_total", "source")


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
            duration(
                "Blind for",
                "access_monitor:blind_seconds",
                what="No source's newest event moved for so long.",
                width=6,
                bad=300,
                odd=60,
            ),
            trouble(
                "Unreadable",
                f"sum(increase(access_monitor_rejected_total{chosen}[$__range])) or vector(0)",
                what="Records in the dead letters.",
                width=6,
            ),
            trouble(
                "Too late to count",
                'sum(increase(access_monitor_rows_total{outcome="too_late"}[$__range])) or vector(0)',
                what="Older than the longest timespan and the lateness allowed.",
                width=6,
            ),
            rates(
                "Events by source and outcome",
                "events_total",
                "source, outcome",
                chosen,
                what="unrouted: no authenticated credential.",
            ),
            rates(
                "Unreadable by reason",
                "rejected_total",
                "source, reason",
                chosen,
                what="What cannot be read is not counted.",
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
            rates(
                "Late, ahead, twice",
                "rows_total",
                "outcome",
                '{outcome=~"late|lost_late|too_late|clamped|duplicates|internal"}',
                what="Rows that were not simply applied.",
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
            rates(
                "Dead letters withheld",
                "rejected_withheld_total",
                "source, reason",
                chosen,
                what="Too many to give each one a dead letter.",
            ),
            rates(
                "Records that came before",
                "repeated_records_total",
                "source",
                chosen,
                what="Sent again, and without an id of the gateway's: they count twice.",
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
