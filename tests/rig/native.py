"""The extension modules, where a compiler built them; in CI they must be there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from monitor import engine

if TYPE_CHECKING:
    from types import ModuleType


def native(module: ModuleType | None) -> Any:
    """Return an extension module, or skip the test without one."""
    if module is None:
        assert not os.environ.get("CI") or os.environ.get(engine.PURE), "the extension modules were not built"
        pytest.skip("no extension module: it was not built, or is switched off")
    return module
