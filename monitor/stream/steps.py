"""Named steps between which a crash must lose nothing; the fault suite has a worker die at one of them.

`ACCESS_MONITOR_FAULT=detect.state-sent:3:KILL` sends SIGKILL to the process itself when that step is reached
for the third time; STOP has it stand still there, as a long pause of the machine would. Where the variable
is not set, a step is an empty function.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE: Final = "ACCESS_MONITOR_FAULT"

#: Every step, in the order of the flow.
STEPS: Final = (
    "intake.decoded",  # some records of a chunk are rows, none is sent
    "intake.queued",  # all rows of a chunk are queued
    "send.under-way",  # a batch is with the producer, not acknowledged
    "send.acknowledged",  # a batch is in the log, its sender does not count it yet
    "intake.before-commit",
    "intake.after-commit",
    "detect.fenced",  # the writer before cannot write any more, nothing is read yet
    "detect.recovered",
    "detect.applied",  # one record of a chunk is applied
    "detect.finding-queued",
    "detect.findings-durable",  # findings are, the state that goes with them is not
    "detect.state-sent",  # some of the changed pages are in the open transaction
    "detect.before-state-commit",  # all of them are
    "detect.state-durable",
    "detect.before-commit",
    "detect.after-commit",
    "enforce.fenced",
    "enforce.active",  # its first sign of life is durable
    "enforce.before-transaction",
    "enforce.in-transaction",  # all of a decision is sent, nothing is committed
    "enforce.after-transaction",  # decided, and nobody has heard of it
    "enforce.status-queued",
    "enforce.before-call",  # the attempt is in the ledger
    "enforce.after-call",  # the gateway has answered, the ledger does not know
    "enforce.accepted",
    "enforce.before-commit",
    "enforce.after-commit",
)


def _nothing(_step: str) -> None:
    """Take no notice."""


def _armed(text: str) -> Callable[[str], None]:
    """Return what counts steps and sends the signal; raises ValueError for a step that is none."""
    awaited, number, action = text.split(":")
    if awaited not in STEPS:
        msg = f"{VARIABLE}: there is no step {awaited}"
        raise ValueError(msg)
    left = int(number)
    sent = signal.Signals[f"SIG{action}"]

    def count(step: str) -> None:
        nonlocal left
        if step == awaited:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), sent)

    return count


#: Says that a step is reached.
reached: Final[Callable[[str], None]] = _armed(os.environ[VARIABLE]) if VARIABLE in os.environ else _nothing
