"""The ledger goes on where `findings` is another topic than it was: lost and made again, or on another cluster.

Who is refused, allowed and held, and the chain of decisions, are kept; they hold no offsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from monitor.response.ledger import Ledger
from monitor.response.states import Decision
from monitor.stream.read import end_offsets

if TYPE_CHECKING:
    from monitor.settings import Settings


async def adopt_findings(settings: Settings) -> str:
    """Have the enforcer decide from the first record of `findings` on; return a sentence that says so.

    Fences an enforcer that runs. May be repeated: what was decided meanwhile has its id in `findings`, and is
    known again. Raises InvariantError where `credentials` was emptied, SendError where Kafka does not answer.
    """
    ledger = Ledger(settings)
    await ledger.take_over(findings_anew=True)
    try:
        before = ledger.position
        control = settings.topic("control")
        ends = await end_offsets(settings.kafka, [control])
        position = msgspec.structs.replace(
            before,
            findings_offset=0,
            evidence_offset=None,
            # Another one, too, where it ends before what was taken from it.
            control_offset=before.control_offset if before.control_offset <= ends[control] else 0,
        )
        adopted = Decision("findings_adopted", {"decided_up_to": before.findings_offset})
        await ledger.commit([adopted], {}, position)
    finally:
        await ledger.close()
    return (
        f"the enforcer decides from the first record of {settings.topic('findings')} on; who is refused stays"
        f" refused ({len(ledger.credentials)} credentials)"
    )
