"""The part of the catalogue about feeds, and about the keys that their pseudonyms are made with."""

from __future__ import annotations

from monitor.observe.catalogue import Catalogue


class FeedMetrics(Catalogue):
    """Declares whether sources come as they usually do; `Metrics` has the rest."""

    def _declare_feeds(self) -> None:
        self._of("intake")
        self.feed_last_record_timestamp_seconds = self._gauge(
            "feed_last_record_timestamp_seconds",
            "Kafka's time of the last record of a source's partitions here, in seconds since the epoch; 0"
            " with none yet.",
            "source",
        )
        self.feed_silence_limit_seconds = self._gauge(
            "feed_silence_limit_seconds",
            "How long a source may be silent at this hour of the week before that is unusual: three times"
            " the longest usual silence, at least a minute; 0 where nothing is known yet.",
            "source",
        )
        self.feed_usual_records_per_second = self._gauge(
            "feed_usual_records_per_second",
            "What this hour of the week usually brings of a source on the partitions here; 0 where nothing"
            " is known yet.",
            "source",
        )
        self.feed_delay_seconds = self._gauge(
            "feed_delay_seconds",
            "From an event's time to Kafka's, of the last event looked at, in seconds.",
            "source",
        )
        self.gateway_clock_ahead_seconds = self._gauge(
            "gateway_clock_ahead_seconds",
            "How far a gateway's clock is ahead of Kafka's, by the least delay of the last minutes, in"
            " seconds; far below 0 where it is behind, or its log comes late.",
            "source",
            "gateway",
        )
        self.feed_numbered_records_total = self._counter(
            "feed_numbered_records_total",
            "Records that a gateway numbered, each number once.",
            "source",
            "gateway",
        )
        self.feed_highest_number = self._gauge(
            "feed_highest_number",
            "The highest number of a gateway's records: it rises as fast as feed_numbered_records_total"
            " does over all workers, or records are missing.",
            "source",
            "gateway",
        )
        self.pseudonym_key_begin_timestamp_seconds = self._gauge(
            "pseudonym_key_begin_timestamp_seconds",
            "From when on intake counts by a pseudonym key of its file, in seconds since the epoch; workers"
            " must agree.",
            "epoch",
        )
        self.pseudonym_key_active = self._gauge(
            "pseudonym_key_active", "1 for the pseudonym key that intake counts by, else 0.", "epoch"
        )
        self.key_overlap_end_timestamp_seconds = self._gauge(
            "key_overlap_end_timestamp_seconds",
            "Until when rows bear the pseudonyms of an older key too, in seconds since the epoch; 0 where no"
            " key rotates.",
        )
