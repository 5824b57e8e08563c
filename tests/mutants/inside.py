"""Runs tests in a copy of the project: `python -m tests.mutants.inside FOLDER TEST...`, in that folder.

Exits as pytest does. What is imported is proven to be the copy's, and no test draws many examples.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

import monitor

PROFILE = "mutants"
#: A mutant may loop for ever: it must not take the machine's memory meanwhile.
MOST_MEMORY = 4 << 30


class FewExamples:
    """A plugin: tests that ask for more examples than the profile has get as many as it has."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        from hypothesis import settings  # not sooner: pytest wants to see it imported

        most = settings.get_profile(PROFILE).max_examples
        for item in items:
            test = getattr(item, "obj", None)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None and own.max_examples > most:
                test._hypothesis_internal_use_settings = settings(own, max_examples=most)  # type: ignore[union-attr]


def main(folder: str, *tests: str) -> int:
    """Run tests; return pytest's exit code."""
    copy = Path(folder).resolve()
    for module in (monitor.__file__, __file__):
        if copy not in Path(module).resolve().parents:
            sys.exit(f"{module} is not in the copy {copy}")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", f"--hypothesis-profile={PROFILE}"]
    return int(pytest.main([*options, f"--rootdir={copy}", *tests], plugins=[FewExamples()]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
