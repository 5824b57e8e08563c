"""What a take-over remembers of the findings before it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from monitor.errors import InvariantError
from tests.response.stage import decisions, finding, found, send

if TYPE_CHECKING:
    from tests.response.conftest import Install


async def test_garbage_is_named_with_its_place_also_after_a_restart(install: Install):
    """A take-over reads what is decided; what is not is left to the decision, which says where it stands."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
    await send(cast.settings, "findings", b"not json")
    with contextlib.suppress(InvariantError):
        async with cast.enforcer() as enforcer:
            with pytest.raises(InvariantError, match="findings-0 offset 1: not a finding"):
                await enforcer.apply_findings(await found(cast.settings, finding(2)))
    assert [type(error) for error in cast.fatal] == [InvariantError]
    assert len(await decisions(cast.settings, "requested")) == 1
