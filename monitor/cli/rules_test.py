"""`monitor rules test`: run the test cases that stand beside rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.trial.cases import Result


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results to this file, as JUnit XML.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per case on stdout.")
def command(paths: tuple[str, ...], junit: Path | None, *, as_json: bool) -> None:
    """Run the cases of the test files at PATH (NAME.test.yml, beside NAME.yml).

    PATH is a test file, a rule file with one beside it, a folder, or pack:default. Events go the way
    they go live: decoding, pseudonyms, routing, windows. Ends with 0 where all cases hold, 1 where
    one does not, and 78 where a file cannot be read. docs/rules.md shows how cases are written.
    """
    from monitor.errors import Fault
    from monitor.trial.case_files import find_test_files, read_cases
    from monitor.trial.cases import run_case
    from monitor.trial.junit import junit_xml

    faults: list[Fault] = []
    cases = [case for name, path in find_test_files(paths) for case in read_cases(name, path, faults)]
    if faults:
        raise ConfigurationError("the tests cannot be run", faults)
    results = [run_case(case) for case in cases]
    if junit is not None:
        try:
            junit.write_bytes(junit_xml(results))
        except OSError as error:
            fault = Fault(f"--junit {junit}", f"cannot be written: {error.strerror}")
            raise ConfigurationError("the results were not written", [fault]) from None
    if as_json:
        for result in results:
            click.echo(json.dumps(_plain(result), ensure_ascii=False))
    else:
        _print(results)
    if not all(result.passed for result in results):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _print(results: Sequence[Result]) -> None:
    for result in results:
        case = result.case
        if result.passed:
            click.echo(f"passed  {case.file}: {case.name}")
            continue
        click.echo(f"FAILED  {case.file}:{case.line}: {case.name}")
        for problem in result.problems:
            click.echo(f"        {problem}")
        for found in result.found:
            click.echo(f"        there was: {found.title} ({found.rule[:8]}): {found.summary}")
    failed = sum(not result.passed for result in results)
    click.echo(f"{len(results) - failed} passed, {failed} failed")


def _plain(result: Result) -> dict[str, object]:
    case = result.case
    return {
        "file": case.file,
        "line": case.line,
        "name": case.name,
        "passed": result.passed,
        "problems": list(result.problems),
        "found": [
            {"rule": found.rule, "subject": found.subject, "time_ms": found.at_ms, "value": found.value}
            for found in result.found
        ],
    }
