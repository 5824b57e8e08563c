"""Templates: the most specific one, whatever a client writes; what overlaps is an error at start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError
from monitor.intake.routes import Match, Matcher, read_routes
from tests.formats.samples import ROUTES

if TYPE_CHECKING:
    from pathlib import Path


def matcher(tmp_path: Path, text: str) -> Matcher:
    path = tmp_path / "routes.yaml"
    path.write_text(text, encoding="utf-8")
    return Matcher(read_routes([path]))


def of(*templates: str, options: str = "") -> str:
    return options + "routes:\n" + "".join(f'  - {{template: "{one}"}}\n' for one in templates)


def faults(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        matcher(tmp_path, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "route", "patients"),
    [
        ("/fhir/Patient/1", "/fhir/Patient/{patient}", ["1"]),
        ("/fhir/Patient/1/", "/fhir/Patient/{patient}", ["1"]),
        ("/fhir//Patient/./x/../1", "/fhir/Patient/{patient}", ["1"]),
        ("/fhir;v=4/Patient;a=b/1;x", "/fhir/Patient/{patient}", ["1"]),
        ("/fhir/%50atient/p%2D1", "/fhir/Patient/{patient}", ["p-1"]),
        ("/fhir/Patient/a%2Fb", "/fhir/Patient/{patient}", ["a/b"]),
        ("/fhir/%2e%2e/fhir/Patient/1", "/fhir/Patient/{patient}", ["1"]),
        ("/../fhir/Patient/1", "/fhir/Patient/{patient}", ["1"]),
        ("http://gw.example:8080/fhir/Patient/1?x", "/fhir/Patient/{patient}", ["1"]),
        ("/fhir/Patient/%FF", "/fhir/Patient/{patient}", ["\ufffd"]),
        ("/fhir/Patient/1/$everything?_count=9", "/fhir/Patient/{patient}/$everything", ["1"]),
        ("/fhir/Patient/1/%24everything", "/fhir/Patient/{patient}/$everything", ["1"]),
        ("/fhir/Patient/1/Observation", "/fhir/Patient/{patient}/Observation", ["1"]),
        ("/fhir/Patient/_search", "/fhir/Patient/_search", []),
        ("/fhir/Patient?_id=1,2&_id=3", "/fhir/Patient", ["1", "2", "3"]),
        ("/fhir/Observation?patient=1&patient=Patient/2", "/fhir/Observation", ["1", "2"]),
        ("/fhir/Observation?subject=Patient%2F1%2CPatient%2F2", "/fhir/Observation", ["1", "2"]),
        ("/fhir/Observation?subject%3APatient=1&code=x", "/fhir/Observation", ["1"]),
        ("/fhir/Observation?patient.identifier=urn:mrn%7C77", "/fhir/Observation", ["urn:mrn|77"]),
        ("/fhir/Observation?patient=&code=1", "/fhir/Observation", []),
        ("/fhir/Appointment?actor=Patient/1&actor=Practitioner/2", "/fhir/Appointment", ["1"]),
        ("/fhir/Observation/o-1", "/fhir/Observation/{object}", []),
    ],
)
def test_fhir(path: str, route: str, patients: list[str]) -> None:
    found = ROUTES(path)
    assert found is not None
    assert (found.route, [patient for patient, _ in found.patients]) == (route, patients)


@pytest.mark.parametrize(
    "path",
    ["", "*", "/fhir/patient/1", "/fhir/Patient/1/Nothing", "/fhirx", "?", "/fhir/Patient%2F1", "http://"],
)
def test_what_no_template_means(path: str) -> None:
    found = ROUTES(path)
    assert found is None or not found.patients


def test_the_template_goes_on_and_never_the_path(tmp_path: Path) -> None:
    match = matcher(
        tmp_path,
        """
routes:
  - {template: "/a/{tenant}/b/{object}/{patient}?also={patient}", name: "/a/:t", category: things}
""",
    )
    found = match("/a/t-1/b/o-1/p-1?also=p-2&also=p-1")
    assert found == Match("/a/:t", "things", (("p-1", "t-1"), ("p-2", "t-1")), "t-1", "o-1")
    assert repr(found) == "Match(/a/:t)"
    assert match.category("/a/:t") == "things"
    assert match.knows("/a/:t")
    assert not match.knows("/a/t-1/b/o-1/p-1")


def test_a_file_has_a_category_for_its_routes_that_name_none(tmp_path: Path) -> None:
    text = (
        'category: general\nroutes:\n  - {template: "/a/{object}"}\n  - {template: "/b", category: things}\n'
    )
    match = matcher(tmp_path, text)
    found = {path: match(path) for path in ("/a/1", "/b")}
    assert {path: one and one.category for path, one in found.items()} == {"/a/1": "general", "/b": "things"}


def test_case_and_several_segments(tmp_path: Path) -> None:
    match = matcher(tmp_path, of("/Files/{rest*}", "/Files/{id}/Meta", options="ignore_case: true\n"))
    assert match("/FILES/a/b/c") == Match("/Files/{rest*}", None)
    assert match("/files/A/META") == Match("/Files/{id}/Meta", None)
    assert match("/files") is None


@pytest.mark.parametrize(
    ("templates", "word"),
    [
        (("/a/{x}", "/a/{y}"), "is the same path as"),
        (("/a/b", "/a/b/"), "is the same path as"),
        (("/a/b?patient={patient}", "/a/b?subject={patient}"), "is the same path as"),
        (("/a/{x}/c", "/a/b/{y}"), "overlaps with"),
        (("/{x}/b", "/a/{y*}"), "overlaps with"),
        (("/a/{x*}", "/a/{y*}"), "is the same path as"),
    ],
)
def test_templates_that_overlap_are_an_error_at_start(
    tmp_path: Path, templates: tuple[str, ...], word: str
) -> None:
    assert word in faults(tmp_path, of(*templates))


@pytest.mark.parametrize(
    "templates",
    [
        ("/a/{x}", "/a/b"),
        ("/a/{x}/c", "/a/b/c"),
        ("/a/{x*}", "/a/{x}"),
        ("/a/{x*}", "/a/b/{y}"),
        ("/a", "/b/{x*}"),
    ],
)
def test_a_more_specific_template_is_no_overlap(tmp_path: Path, templates: tuple[str, ...]) -> None:
    assert len(matcher(tmp_path, of(*templates)).templates) == 2


def test_all_faults_of_routes_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """\
prefix: fhir
colour: red
routes:
  - {template: 7}
""",
    )
    assert "routes.yaml:1 prefix" in found
    assert "routes.yaml:2 colour: there is no such setting" in found
    found = faults(
        tmp_path,
        """\
include: ["pack:nope", other.yaml]
routes:
  - {template: "a/b"}
  - {template: "/a/x{patient}"}
  - {template: "/a//b"}
  - {template: "/a/{patient*}"}
  - {template: "/a/{x*}/b"}
  - {template: "/a?patient=7"}
  - {template: "/<kind>/a"}
  - {template: "/a/{tenant}/{tenant}"}
  - {template: "/<kind>/b", each: {kind: []}}
""",
    )
    assert "each.kind" in found
    found = faults(
        tmp_path,
        """\
include: ["pack:nope", other.yaml]
routes:
  - {template: "a/b"}
  - {template: "/a/x{patient}"}
  - {template: "/a/{patient*}"}
  - {template: "/a/{x*}/b"}
  - {template: "/a?patient=7"}
  - {template: "/<kind>/a"}
  - {template: "/a/{tenant}/{tenant}"}
""",
    )
    for part in (
        "pack:nope: no such pack of routes (there is: pack:fhir-r4)",
        "other.yaml: cannot be read",
        "routes.yaml:3 routes[0].template: a template begins with a slash",
        "routes.yaml:4",
        "routes.yaml:5",
        "routes.yaml:6",
        "routes.yaml:7 routes[4].template: 'patient=7': expected a parameter",
        "<kind> is not a name of each",
        "can stand once each",
    ):
        assert part in found, found


def test_a_file_cannot_include_itself(tmp_path: Path) -> None:
    assert "includes itself" in faults(tmp_path, 'include: ["routes.yaml"]\n')


segment = st.sampled_from(["a", "b", "{x}", "{patient}"])
templates = st.lists(
    st.lists(segment, min_size=1, max_size=4).map(tuple), min_size=1, max_size=6, unique=True
)


def brute(texts: list[str], path: str) -> str | None:
    """The template with the most literal segments among those that match."""
    fitting = [text for text in texts if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", text), path)]
    return max(fitting, key=lambda text: -text.count("{"), default=None)


@given(templates, st.lists(st.sampled_from(["a", "b", "c", "%61"]), min_size=1, max_size=4))
def test_the_matcher_finds_what_brute_force_finds(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[str, ...]], parts: list[str]
) -> None:
    texts = ["/" + "/".join(shape) for shape in shapes]
    try:
        match = matcher(tmp_path_factory.mktemp("routes"), of(*texts))
    except ConfigurationError:
        return  # they overlap
    found = match("/" + "/".join(parts))
    plain = "/" + "/".join("a" if part == "%61" else part for part in parts)
    assert (found and found.route) == brute(texts, plain)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_patient_is_found_whatever_its_id_is(first: str, second: str) -> None:
    """Percent-encoded as servers decode it; a comma parts several, and a dot segment is no id."""
    found = ROUTES(f"/fhir/Patient/{quote(first, safe='')}")
    assert found is not None
    if first not in {".", ".."}:
        known = {"_search", "$match", "$export"}
        assert found.patients == (() if first in known else ((first, None),))
    found = ROUTES(f"/fhir/Observation?code=1&patient={quote_plus(second)}")
    assert found is not None
    wanted = dict.fromkeys(one.removeprefix("Patient/") or one for one in second.split(",") if one)
    assert [patient for patient, _ in found.patients] == list(wanted)


@given(st.text() | st.text(st.sampled_from("/?&=%;.#{}*:"), max_size=40))
def test_no_path_breaks_the_matcher(path: str) -> None:
    found = ROUTES(path)
    assert found is None or ROUTES.knows(found.route)
