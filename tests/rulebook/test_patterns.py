"""Patterns run on RE2, and wildcards mean what Sigma says."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sigma.types import SigmaString

from monitor.core.rules import Match
from monitor.rulebook import compile_pattern
from monitor.rulebook.detections import _text


def test_a_pattern_is_found_anywhere() -> None:
    matches = compile_pattern("b+c")
    assert matches("abbcd")
    assert not matches("abd")
    assert not matches("ABBCD")
    assert compile_pattern("(?i)b+c")("ABBCD")


@pytest.mark.parametrize("text", ["(", "(?=a)", r"(a)\1", "a{2000}"])
def test_what_re2_cannot_do_is_an_error(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="not a pattern of RE2"):
        compile_pattern(text)
    assert "re2.cc" not in capfd.readouterr().err


def test_no_text_makes_a_pattern_slow() -> None:
    """A backtracking engine needs 2^40 steps for this."""
    matches = compile_pattern("^(a+)+$")
    began = time.perf_counter()
    assert not matches("a" * 40 + "b")
    assert time.perf_counter() - began < 1


@given(
    st.text("ab*?.+[(\\x", max_size=8).filter(lambda text: "\\" not in text and "[" not in text),
    st.text("abx.+(AB\n", max_size=8),
)
def test_wildcards_match_like_a_shell(pattern: str, value: str) -> None:
    match = _text("route", SigmaString(pattern))
    assert isinstance(match, Match)
    expected = fnmatch.fnmatchcase(value.lower(), pattern.lower())
    assert _matches(match, value) == expected


def _matches(match: Match, value: str) -> bool:
    wanted, text = str(match.value).lower(), value.lower()
    match match.operator:
        case "eq":
            return text == wanted
        case "startswith":
            return text.startswith(wanted)
        case "endswith":
            return text.endswith(wanted)
        case "contains":
            return wanted in text
        case "exists":
            return True
        case _:
            return compile_pattern(str(match.value))(value)
