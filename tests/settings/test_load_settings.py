"""The configuration: strict, every fault at once with its place, and no secret in any text."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError
from monitor.settings import WebhookSettings, load_operator_settings, load_settings, setting_paths
from monitor.settings.values import format_duration, parse_duration, parse_listen

EXAMPLE = Path(__file__).parents[2] / "deploy" / "monitor.yaml"
LEAST = """\
kafka: {bootstrap_servers: "a:9092, b:9092"}
sources: [{name: gate, topic: gate.access, realm: clinic}]
privacy: {key_file: keys}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes monitor.yaml; the key file that LEAST names is there."""
    monkeypatch.delenv("MONITOR_CONFIG", raising=False)
    (tmp_path / "keys").write_text("{}")

    def to(text: str) -> Path:
        path = tmp_path / "monitor.yaml"
        path.write_text(text)
        return path

    return to


def faults_of(path: Path | None) -> str:
    """Return the message of the error that loading raises."""
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path)
    return str(raised.value)


def test_the_least_configuration_is_in_shadow_mode(write: Any):
    settings = load_settings(write(LEAST))
    assert settings.response.mode == "shadow"
    assert settings.kafka.bootstrap_servers == ["a:9092", "b:9092"]
    assert settings.privacy.key_file == settings.privacy.key_file.absolute()
    assert settings.topic("routed") == "access-monitor.routed"
    assert settings.group("intake") == "access-monitor.intake"


def test_all_faults_come_at_once_with_file_and_line(write: Any):
    said = faults_of(
        write(
            "kafka:\n  bootstrap_servers: [nowhere]\n  bogus: 1\n"
            "sources:\n  - {name: Bad Name, topic: x, realm: a/b}\n"
            "response: {mode: kill, max_age: 3 weeks}\nprivacy: {}\n"
        )
    )
    for place in (
        "monitor.yaml:2 kafka.bootstrap_servers[0]",
        "monitor.yaml:3 kafka.bogus: there is no such setting",
        "monitor.yaml:5 sources[0].name",
        "monitor.yaml:5 sources[0].realm",
        "monitor.yaml:6 response.mode",
        "monitor.yaml:6 response.max_age: expected a duration",
        "monitor.yaml:7 privacy.key_file: is required",
    ):
        assert place in said


def test_the_environment_wins_and_is_named_in_faults(write: Any, monkeypatch: pytest.MonkeyPatch):
    path = write(LEAST)
    monkeypatch.setenv("MONITOR_KAFKA__BOOTSTRAP_SERVERS", "c:1,d:2")
    monkeypatch.setenv("MONITOR_OBSERVE__LISTEN", "[::1]:0")
    monkeypatch.setenv("MONITOR_RESPONSE__MAX_AGE", "90s")
    settings = load_settings(path)
    assert settings.kafka.bootstrap_servers == ["c:1", "d:2"]
    assert settings.observe.listen == ("::1", 0)
    assert settings.response.max_age == timedelta(seconds=90)
    monkeypatch.setenv("MONITOR_RESPONSE__MODE", "kill")
    assert "environment MONITOR_RESPONSE__MODE" in faults_of(path)


def test_a_misspelt_variable_is_a_fault(write: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONITOR_KAFKA_BOOTSTRAP_SERVERS", "c:1")
    assert "environment MONITOR_KAFKA_BOOTSTRAP_SERVERS: there is no such setting" in faults_of(write(LEAST))


def test_no_secret_is_ever_in_an_error(write: Any, monkeypatch: pytest.MonkeyPatch):
    text = LEAST.replace(
        '"a:9092, b:9092"',
        '"a:1", security_protocol: SASL_SSL, sasl_password: s3cret-file, sasl_password_file: x, bogus: 1',
    )
    monkeypatch.setenv("MONITOR_KAFKA__SSL_KEY_PASSWORD", "s3cret-variable")
    said = faults_of(write(text))
    assert "s3cret" not in said
    assert "bogus" in said
    said = faults_of(write(text.replace(", bogus: 1", "")))
    assert "s3cret" not in said
    assert "sasl_mechanism is needed" in said
    assert "either sasl_password or sasl_password_file" in said


@pytest.mark.parametrize(
    ("kafka", "problem"),
    [
        ("sasl_mechanism: PLAIN", "no effect unless security_protocol is SASL_*"),
        ("security_protocol: SSL, ssl_certificate_file: keys", "belong together"),
        ("ssl_ca_file: keys", "no effect unless security_protocol is SSL or SASL_SSL"),
        ("replication_factor: 1, min_insync_replicas: 2", "larger than replication_factor"),
        ("security_protocol: SASL_SSL, sasl_mechanism: PLAIN", "sasl_username and sasl_password"),
    ],
)
def test_settings_that_contradict_each_other_are_named(write: Any, kafka: str, problem: str):
    assert problem in faults_of(write(LEAST.replace('"a:9092, b:9092"', f'"a:1", {kafka}')))


def test_two_sources_must_differ(write: Any):
    source = "{name: gate, topic: gate.access, realm: clinic}"
    said = faults_of(write(LEAST.replace(source, f"{source}, {source}")))
    assert "two sources are called gate" in said
    assert "two sources read the topic gate.access" in said


def test_a_source_cannot_be_one_of_our_own_topics(write: Any):
    assert "a topic of our own" in faults_of(write(LEAST.replace("gate.access", "access-monitor.findings")))


def test_files_that_settings_name_must_be_readable(write: Any, tmp_path: Path):
    path = write(
        LEAST
        + "response: {adapters: [{type: webhook, name: a, url: 'https://gate', secret_file: nowhere}]}\n"
    )
    (tmp_path / "keys").unlink()
    said = faults_of(path)
    assert "privacy.key_file: names a file that cannot be read (create it with: monitor keys new" in said
    assert "response.adapters[0].secret_file" in said
    [adapter] = load_settings(path, check_files=False).response.adapters
    assert isinstance(adapter, WebhookSettings)
    assert adapter.url == "https://gate"


@pytest.mark.parametrize(
    ("text", "said"),
    [("kafka: [", "monitor.yaml"), ("- a\n- b\n", "must hold sections"), ("a: b: c\n", "monitor.yaml:1")],
)
def test_what_is_not_a_configuration_says_so(write: Any, text: str, said: str):
    assert said in faults_of(write(text))


def test_a_missing_file_says_how_to_name_one(tmp_path: Path):
    assert "MONITOR_CONFIG" in faults_of(tmp_path / "nowhere.yaml")


def test_the_example_names_every_setting_and_loads():
    assert load_settings(EXAMPLE, check_files=False).kafka.sasl_mechanism == "SCRAM-SHA-512"

    def paths(plain: Any, place: str = "") -> set[str]:
        if isinstance(plain, dict) and place != "response.fuse.classes":  # its keys are classes
            dotted = f"{place}." if place else ""
            return {path for key, value in plain.items() for path in paths(value, dotted + key)}
        if isinstance(plain, list) and plain and isinstance(plain[0], dict):
            return {path for value in plain for path in paths(value, f"{place}[]")}
        return {place}

    assert paths(yaml.safe_load(EXAMPLE.read_text())) == set(setting_paths())


@given(st.integers(0, 365 * 86_400_000))
def test_a_duration_is_read_as_it_is_written(milliseconds: int):
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "3x", "-1s", "1h30m", "367d", "nan", True, None])
def test_what_is_no_duration_is_refused(text: Any):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", ":", "9190", "host:", "host:99999", "::1:9190", "a:b"])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError, match="expected host:port"):
        parse_listen(text)


def test_commands_of_operators_need_nothing_but_their_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "laptop.yaml"
    path.write_text("operator: {servers: ['https://monitor:9192'], identity_file: keys/me}\nelse: [1]\n")
    operator = load_operator_settings(path)
    assert operator.servers == ["https://monitor:9192"]
    assert operator.identity_file == tmp_path / "keys/me"
    monkeypatch.setenv("MONITOR_OPERATOR__AUDIENCE", "clinic")
    assert load_operator_settings(path).audience == "clinic"
    path.write_text("operator: {servers: ['nowhere'], sudo: true}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_operator_settings(path)
    assert len(refused.value.faults) == 2


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"listen": "0.0.0.0:9192"}, "tls_certificate_file and tls_key_file are needed"),
        ({"allowed_signers_file": "a"}, "allowed_signers_file and rights_file belong together"),
        ({"tls_key_file": "a"}, "tls_certificate_file and tls_key_file belong together"),
        ({"url": "https://user:secret@monitor"}, "does not have the right form"),
    ],
)
def test_an_operator_api_is_never_open_by_mistake(tmp_path: Path, section: dict[str, str], said: str):
    path = tmp_path / "monitor.yaml"
    path.write_text(json.dumps({"operator": section}))
    with pytest.raises(ConfigurationError, match=said) as refused:
        load_operator_settings(path)
    assert "secret" not in str(refused.value)
