"""Mistakes that somebody could make in the detection core, each with the tests that must notice it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.mutants import of_judging, of_recovery, of_windows

if TYPE_CHECKING:
    from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = of_windows.MUTANTS + of_judging.MUTANTS + of_recovery.MUTANTS
