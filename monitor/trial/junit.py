"""Results of rule tests as JUnit XML, as GitLab and Jenkins read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.trial.cases import Result

#: Characters that XML 1.0 cannot hold.
_not_xml = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[Result]) -> bytes:
    """Return the report: one suite per test file."""
    root = ET.Element("testsuites", _counts(results))
    for file in dict.fromkeys(result.case.file for result in results):
        of_file = [result for result in results if result.case.file == file]
        suite = ET.SubElement(root, "testsuite", {"name": _text(file), **_counts(of_file)})
        for result in of_file:
            case = result.case
            about = {
                "name": _text(case.name),
                "classname": _text(file),
                "file": _text(file),
                "line": str(case.line),
                "time": f"{result.seconds:.3f}",
            }
            element = ET.SubElement(suite, "testcase", about)
            if not result.passed:
                failure = ET.SubElement(element, "failure", {"message": _text(result.problems[0])})
                failure.text = _text("\n".join(result.problems))
    report: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return report


def _counts(results: Sequence[Result]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not result.passed for result in results)),
        "errors": "0",
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _text(value: str) -> str:
    return _not_xml.sub("\ufffd", value)
