"""Each mistake of the catalogue is noticed by the tests that are named for it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.copies import ROOT, Run, copied, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.mutants.mutant import Mutant

pytestmark = pytest.mark.timeout(600)

NAMED = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
SLOWEST_S = 300


def of(mutant: Mutant) -> str:
    return mutant.name.replace(" ", "-")


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Run]]]:
    """Start what the selected tests wait for: a run without a mistake, and one for each mutant."""
    selected = {item.name for item in request.session.items if item.path == request.path}
    folder = tmp_path_factory.mktemp("mutants")

    def ended(mutant: Mutant) -> Run:
        copy = copied(folder / of(mutant))
        path = copy / mutant.file
        path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
        return run(copy, mutant.tests, SLOWEST_S)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        started = {"none": pool.submit(lambda: run(copied(folder / "none"), NAMED, SLOWEST_S))}
        for mutant in MUTANTS:
            if any(f"[{of(mutant)}]" in name for name in selected):
                started[mutant.name] = pool.submit(ended, mutant)
        try:
            yield started
        finally:
            pool.shutdown(cancel_futures=True)


def test_without_a_mistake_all_named_tests_pass(runs: dict[str, Future[Run]]):
    ended = runs["none"].result()
    assert ended.passed, ended.output


@pytest.mark.parametrize("mutant", MUTANTS, ids=of)
def test_a_mistake_is_noticed(mutant: Mutant, runs: dict[str, Future[Run]]):
    ended = runs[mutant.name].result()
    assert ended.failures, f"{mutant.why}\n{ended.code}: {ended.output}"
    assert all(failed.startswith(mutant.tests) for failed in ended.failures)


@pytest.mark.parametrize("mutant", MUTANTS, ids=of)
def test_each_mistake_stands_at_one_place_and_says_what_it_breaks(mutant: Mutant):
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text
    compile(mutant.applied(text), mutant.file, "exec")
    assert mutant.why
    assert mutant.tests


def test_names_tell_mistakes_apart():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 16
