"""The hot paths in C++, where a compiler was at hand when the package was installed.

Without them everything works the same, in Python, and several times slower.
Both are behind the same tests; the Python code is what says how things should be.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

#: With this variable set to anything, the Python code runs although the other is there.
PURE: Final = "ACCESS_MONITOR_PURE"


def _native(name: str) -> Any:
    """Return an extension module, or None where it is not to be had."""
    if os.environ.get(PURE):
        return None
    try:
        return import_module(f"monitor.engine.{name}")
    except ImportError:
        return None


#: Counts the rows of `routed`; None where only Python does.
store: Final = _native("_store")
#: Decodes events and makes rows of them; None where only Python does.
router: Final = _native("_router")
#: Unpacks what Kafka's brokers send; None where aiokafka does.
batches: Final = _native("_batches")
