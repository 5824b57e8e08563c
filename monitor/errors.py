"""Errors, named by what the caller does next.

A message here never holds a patient, a key, an address or a payload: it names the place
(file, line, setting, topic, partition, offset) and the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; the numbers above 63 are those of BSD's sysexits.h."""

    OK = 0
    FAILED = 1  # a check or a link of the loop did not hold
    USAGE = 2  # wrong command line
    UNAVAILABLE = 69  # a broker or another service is not there: try again
    SOFTWARE = 70  # an invariant broke: start again, replay is exact
    IO = 74  # a send or a commit failed: start again, replay is exact
    NOT_YET = 75  # asked and in the ledger, but not in effect (yet): look again
    NO_PERMISSION = 77  # a key or a right is missing: ask somebody who has it
    CONFIG = 78  # a setting, rule or file is wrong: a person must change it


class MonitorError(Exception):
    """Anything the monitor reports to a person in one clear message."""

    exit_code = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in what a person wrote.

    `where` is a path such as ``monitor.yaml: kafka.bootstrap_servers`` or ``rules/a.yml:12``;
    `problem` says what is wrong; `remedy` says what to do (may be empty).
    """

    where: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return one line for a terminal."""
        return f"{self.where}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class ConfigurationError(MonitorError):
    """All faults of a configuration, rule set or command, found at once."""

    exit_code = ExitCode.CONFIG

    def __init__(self, title: str, faults: list[Fault]) -> None:
        self.title = title
        self.faults = faults
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{title}\n{lines}" if faults else title)


class BrokerUnavailableError(MonitorError):
    """Kafka cannot be reached or refuses us; retrying later may help."""

    exit_code = ExitCode.UNAVAILABLE


class ServerUnavailableError(MonitorError):
    """No server of ours answers; retrying later, or elsewhere, may help."""

    exit_code = ExitCode.UNAVAILABLE


class NotPermittedError(MonitorError):
    """Whoever asks has not the key or the right for it."""

    exit_code = ExitCode.NO_PERMISSION


class SendError(MonitorError):
    """A record was not acknowledged: the process ends, nothing more is sent, replay is exact."""

    exit_code = ExitCode.IO


class InvariantError(MonitorError):
    """Something that must hold does not: the process ends rather than guess."""

    exit_code = ExitCode.SOFTWARE


class RejectedRecordError(Exception):
    """One record that cannot become an event: it goes to the dead letters.

    `reason` is a bounded code (``not_json``, ``wrong_type``, ``missing``, ``unknown_field``,
    ``bad_value``, ``too_large``, ``empty``, ``no_principal``, ``internal``); `detail` names the
    field and what was expected there. Neither ever holds a value from the record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")
