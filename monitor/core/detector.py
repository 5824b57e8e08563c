"""Judges the rows of one routed partition: windows, latches, incidents, findings.

Synchronous and pure: the same log gives the same findings, byte for byte, whatever the bounds of its
records in chunks, the points where state was saved and restored, and what was delivered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.batching import let_wait, settle, waits
from monitor.core.counting import count, patients_read
from monitor.core.coverage import Marks
from monitor.core.events import (
    AXIS,
    AXIS_PRINCIPAL,
    KIND,
    OFFSET,
    STATUS,
    SUBJECT,
    TIME,
    RowKind,
    read_status,
)
from monitor.core.findings import Place
from monitor.core.incident import REFUSALS, Incident
from monitor.core.nearness import Nearness
from monitor.core.outcomes import Failure, Outcomes
from monitor.core.plan import Plan
from monitor.core.quiet import Listening
from monitor.core.renaming import rename
from monitor.core.resting import RestingSubject
from monitor.core.subject import Subject
from monitor.core.subjects import Subjects
from monitor.core.telling import tell, tell_of
from monitor.core.windows import NEVER
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.core.conditions import CompilePattern
    from monitor.core.events import Row, RowsRecord, RulesRecord
    from monitor.core.findings import Excess
    from monitor.core.resting import Unpack
    from monitor.core.subjects import SubjectKey

#: Subjects that have events waiting at most; each has fewer than its smallest threshold.
_MOST_WAITING_SUBJECTS: Final = 50_000

_EVENT: Final = RowKind.EVENT.value


class Detector:
    """The state of one routed partition.

    To recover: `restore_rules`, then `restore_subject` for each subject, `marks.restore`, and apply
    the log again from the position committed. Times are epoch milliseconds; `append_ms` is the append
    time that Kafka gave the routed record. `unpack` reads what `restore_resting` and `rest` are given.
    A finding by an event older than `max_age_ms` is *stale*; a credential that is refused is *quiet* after
    `quiet_ms` without a request.
    """

    def __init__(
        self,
        partition: int,
        *,
        allowed_lateness_ms: int,
        compile_pattern: CompilePattern,
        unpack: Unpack | None = None,
        max_age_ms: int = 15 * 60_000,
        quiet_ms: int = 2 * 60_000,
    ) -> None:
        self.marks = Marks()
        #: Below this routed offset what is missing is known to be lost, not to come again.
        self.holes_below = 0
        self._partition = partition
        self._allowed_lateness_ms = allowed_lateness_ms
        self._compile_pattern = compile_pattern
        self._plan = Plan.empty(allowed_lateness_ms=allowed_lateness_ms, compile_pattern=compile_pattern)
        self._max_age_ms = max_age_ms
        self.subjects = Subjects(unpack)
        self._listening = Listening(self.subjects, quiet_ms)
        #: Subjects with events that wait to be counted, and how many such events there were.
        self._waiting: list[Subject] = []
        #: The pseudonym key of the last rows that bore the pseudonyms of another one too.
        self._phase = ""
        self._rules_stamp = -1
        self._offset = -1
        self._outcomes = Outcomes()
        self._nearness = Nearness()

    def __repr__(self) -> str:
        return f"Detector({self._partition}, {len(self.subjects)} subjects)"

    # Rules

    @property
    def rules_version(self) -> int:
        """The version of the rule set in force, -1 before the first."""
        return self._plan.record.version

    @property
    def rules_record(self) -> RulesRecord:
        """The rule set in force, as it was activated."""
        return self._plan.record

    def activate(self, record: RulesRecord, append_ms: int) -> bool:
        """Put a rule set in force from the next row on; return False where the old one stays.

        Only a higher version takes effect. One that cannot be read changes nothing and is counted.
        """
        if record.version <= self._plan.record.version:
            return False
        try:
            plan = Plan(
                record,
                allowed_lateness_ms=self._allowed_lateness_ms,
                compile_pattern=self._compile_pattern,
                activated_ms=append_ms,
                before=self._plan,
            )
        except Exception:  # noqa: BLE001 - a bad set must not stop detection by the one before
            self._outcomes.counters["rules_refused"] += 1
            return False
        self._settle_all()
        self.subjects.trim(self._plan)
        self._plan = plan
        return True

    def snapshot_rules(self) -> list[Any]:
        """Return the rule set in force and its history in a plain form."""
        return self._plan.snapshot()

    def restore_rules(self, plain: Sequence[Any], stamp: int) -> None:
        """Put the rule set of a snapshot in force, as it was after the routed offset `stamp`.

        Subjects are saved before the rule set, so they hold every row up to there: such rows are
        skipped. An older rule set may have judged them, which is gone. Raises InvariantError where
        the snapshot is not readable.
        """
        self._rules_stamp = stamp
        self._plan = Plan.restore(
            plain, allowed_lateness_ms=self._allowed_lateness_ms, compile_pattern=self._compile_pattern
        )

    def take_nearest(self) -> dict[str, float]:
        """Return how near rules came, as snapshots found it since the last call (see `Nearness`)."""
        return self._nearness.take(self._plan)

    # Subjects

    @property
    def subject_count(self) -> int:
        """How many subjects are held."""
        return len(self.subjects)

    def snapshot_subject(self, key: SubjectKey) -> list[Any]:
        """Return a subject in a plain form."""
        subject = self.subjects.awake(key, self.subjects.held[key])
        self._settle(subject)
        subject.trim(self._plan)
        self._nearness.look(subject, self._plan)
        return subject.snapshot()

    def restore_subject(self, key: SubjectKey, stamp: int, plain: Sequence[Any] | None) -> None:
        """Take a subject as it was after the routed offset `stamp`; None says that it was freed.

        Raises InvariantError for a form that this code does not read (see `Subjects.restore`).
        """
        self.subjects.restore(key, stamp, plain, self._plan.record.version)

    def sweep(self, append_ms: int, limit: int) -> list[SubjectKey]:
        """Free subjects that no longer matter; look at `limit` of them at most and return those freed.

        Successive calls go round all subjects. When, or whether, a subject is freed changes no result.
        """
        # Those that were counted meanwhile may be at rest by now, or freed.
        self._waiting = [subject for subject in self._waiting if subject.waiting]
        freed = []
        for key, subject in self.subjects.next_of_round(limit):
            if subject.recovered >= self._offset:
                # Rows that it holds are still to come again: without it they would count twice.
                continue
            if subject.expired(append_ms):
                self.subjects.free(key)
                freed.append(key)
            elif isinstance(subject, Subject):
                self._settle(subject)
                subject.prune(self._plan, append_ms)
        return freed

    # Rows

    def apply(self, record: RowsRecord, offset: int, append_ms: int) -> None:
        """Judge the rows of the routed record at `offset`.

        A row whose judging fails is reported in the outcomes and changes nothing; the others count.
        """
        counters = self._outcomes.counters
        prior = self.marks.admit(record, across_holes=offset < self.holes_below)
        if prior is None:
            counters["gaps"] += 1
            return
        self._offset = offset
        if offset <= self._rules_stamp:
            counters["replay_skipped"] += len(record.rows)
            return
        place = Place(record.source, self._partition, offset, append_ms)
        self._judge_rows(record, prior, place)
        for subject, time_ms in self._listening.hear(record, prior, offset, append_ms):
            tell(self._outcomes, "quiet", place, subject, time_ms)
            self.subjects.touch(subject, time_ms, self._plan.axes[AXIS_PRINCIPAL].keep_ms)
        if len(self._waiting) > _MOST_WAITING_SUBJECTS:
            self._settle_all()

    def _judge_rows(self, record: RowsRecord, prior: int, place: Place) -> None:
        """Judge the rows of a record above the source offset `prior`."""
        counters, former = self._outcomes.counters, record.former
        if former:
            self._enter_phase(former)
        applied = duplicates = 0
        for row in record.rows:
            try:
                if row[OFFSET] <= prior:
                    duplicates += 1
                    continue
                if row[KIND] != _EVENT:
                    self._status(row, place)
                else:
                    if former:
                        rename(self.subjects, row, former, place)
                    self._event(row, place)
                applied += 1
            except InvariantError:
                raise
            except Exception as error:  # noqa: BLE001 - one crafted row must not stop the others
                self._failed(record, row, type(error).__name__)
        counters["applied"] += applied
        counters["duplicates"] += duplicates

    def _failed(self, record: RowsRecord, row: Row, error: str) -> None:
        """Report a row of a record whose judging failed."""
        at = row[OFFSET] if row and isinstance(row[OFFSET], int) else record.last
        self._outcomes.counters["internal"] += 1
        self._outcomes.failed.append(Failure(record.source, at, error))

    def take_outcomes(self) -> Outcomes:
        """Return what happened since the last call."""
        outcomes, self._outcomes = self._outcomes, Outcomes()
        return outcomes

    def _enter_phase(self, former: Mapping[str, Sequence[str]]) -> None:
        """Count what waits where another key begins to give the pseudonyms: those rows bear the one before."""
        phase = next(iter(former)).partition(":")[0]
        if phase != self._phase:
            self._settle_all()
            self._phase = phase

    def _event(self, row: Row, place: Place) -> None:
        key = row[AXIS], row[SUBJECT]
        subject = self.subjects.held.get(key)
        if subject is not None:
            if place.offset <= subject.recovered:
                self._outcomes.counters["replay_skipped"] += 1
                return
            if isinstance(subject, RestingSubject):
                subject = self.subjects.awake(key, subject)
            if subject.credit and waits(subject, row, place, self._plan):
                if len(subject.waiting) == 1:
                    self._waiting.append(subject)
                self.subjects.touch(subject, subject.latest_ms, self._plan.axes[subject.axis].keep_ms)
                return
            if subject.waiting:
                self._settle(subject)
        self._judge(subject, row, place)

    def _settle(self, subject: Subject) -> None:
        """Count the events of a subject that wait."""
        if not subject.waiting:
            return
        try:
            settle(subject, self._plan)
        except InvariantError:
            raise
        except Exception:  # noqa: BLE001 - one of them is malformed: one by one, the others count
            waiting, subject.waiting = subject.waiting, ()
            subject.latest_ms, subject.credit = subject.latest_counted_ms(), 0
            for _, place, row, _ in waiting:
                try:
                    self._judge(subject, row, place)
                except Exception as error:  # noqa: BLE001 - see apply
                    self._outcomes.counters["applied"] -= 1
                    self._outcomes.counters["internal"] += 1
                    self._outcomes.failed.append(Failure(place.source, row[OFFSET], type(error).__name__))

    def _settle_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for subject in waiting:
            self._settle(subject)

    def _judge(  # noqa: C901, PLR0912 - the hot path, in one piece
        self, subject: Subject | None, row: Row, place: Place
    ) -> None:
        """Count an event now, and tell what follows; `subject` is its subject's state, if there is one."""
        # First everything that may raise, then everything that changes state.
        counters, plan, append_ms = self._outcomes.counters, self._plan, place.append_ms
        axis, name, time_ms, http_status = row[AXIS], row[SUBJECT], row[TIME], row[STATUS]
        if time_ms.__class__ is not int or http_status.__class__ is not int or name.__class__ is not str:
            msg = "a row with a time, a status or a subject of a wrong type"
            raise TypeError(msg)
        axis_plan = plan.axes.get(axis)
        if axis_plan is None:
            return
        if time_ms > append_ms:
            # A clock that runs ahead must not push `L` away and blind a rule.
            counters["clamped"] += 1
            time_ms = append_ms
        age_ms = append_ms - time_ms
        if age_ms > axis_plan.horizon_ms:
            counters["too_late"] += 1
            return
        floor_ms = NEVER if subject is None else subject.floor_ms
        work, refused = [], False
        for counter, read_of in axis_plan.select(row):
            if age_ms <= counter.horizon_ms and time_ms >= counter.floor_ms:
                if time_ms > floor_ms:
                    work.append((counter, read_of(row)))
            else:
                refused = True
        if refused:
            counters["too_late"] += 1
        read = patients_read(row) if axis == AXIS_PRINCIPAL else ()
        if subject is None or (subject.expires_ms < append_ms and subject.expired(append_ms)):
            if not work and not read:
                return
            subject = self.subjects.open((axis, name), plan.record.version)

        incident, told = subject.incident, None
        excesses: Sequence[Excess]
        if incident is not None and not incident.active:
            told = incident.seen(http_status, time_ms)
        if incident is None or incident.active or http_status not in REFUSALS:
            stale = age_ms > self._max_age_ms
            excesses = count(subject, plan, work, read, time_ms, append_ms, counters, stale=stale)
        else:
            excesses = ()  # the monitor's own refusals do not enter windows
        if time_ms > subject.latest_ms:
            subject.latest_ms = time_ms
        if axis_plan.waits:
            let_wait(subject, plan, axis_plan)
        self.subjects.touch(subject, time_ms, axis_plan.keep_ms)
        tell_of(self._outcomes, subject, row, place, time_ms, told, excesses)

    def _status(self, row: Row, place: Place) -> None:
        key = row[AXIS], row[SUBJECT]
        status = read_status(row)
        subject = self.subjects.held.get(key)
        if subject is not None and place.offset <= subject.recovered:
            self._outcomes.counters["replay_skipped"] += 1
            return
        if subject is None or subject.expired(place.append_ms):
            subject = self.subjects.open(key, self._plan.record.version)
        subject = self.subjects.awake(key, subject)
        self._settle(subject)
        subject.credit = 0
        incident = subject.incident
        if incident is None:
            incident = subject.incident = Incident()
        if status.version < incident.version:
            return
        if status.version > incident.version:
            incident.change(status.version, status.value, status.finding, status.at_ms)
            if incident.active:
                subject.reopen()
        incident.attend(status.watch, status.at_ms)
        if status.restart_ms is not None:
            subject.restart(status.restart_ms)
        if status.reopen_ms is not None and incident.reopens(status.reopen_ms):
            subject.reopen()
        self._listening.to(key, subject)
        self.subjects.touch(subject, status.at_ms, self._plan.axes[AXIS_PRINCIPAL].keep_ms)
