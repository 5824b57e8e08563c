"""Marked ids and secrets go in; every byte that comes out anywhere is searched for them.

Each mark holds one random token (addresses: a network of their own). What may hold marks is the source topic,
and the call to the gateway that must end a session.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

import pytest

from monitor.intake.key_files import write_new_keys
from monitor.intake.keys import load_keys
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.settings.models import OWN_TOPICS
from monitor.stream.read import read_to_end
from tests.faults.receiver import SECRET, Receiver
from tests.integration.stack import wait_for
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.stack import Process, Stack

TOKEN: Final = secrets.token_hex(8)
NETWORKS: Final = ("203.0.113.", "2001:db8:dead:beef")
READS: Final = 55  # a limit of rules.yml is 50 patients
ROUTES: Final = """\
routes:
  - {template: "/patients/{patient}/*"}
  - {template: "/appointments/{object}?patient={patient}"}
"""


def mark(kind: str, number: int = 0) -> str:
    return f"{kind}-{TOKEN}-{number}"


def marks() -> list[bytes]:
    """Return the marks, and what they are in other encodings."""
    found = []
    for text in (TOKEN, *NETWORKS):
        raw = text.encode()
        found += [raw, raw.upper(), raw.hex().encode(), raw.hex().upper().encode(), text.encode("utf-16-le")]
        found.append(raw.replace(b":", b"%3A"))
        for shift in range(3):
            # The characters of base64 that depend on the mark alone, wherever in a text it begins.
            inner = slice(-(-shift * 8 // 6), (shift + len(raw)) * 8 // 6)
            padded = bytes(shift) + raw
            found += [base64.b64encode(padded)[inner], base64.urlsafe_b64encode(padded)[inner]]
    return sorted({one for one in found if len(one) > 7})


def event(number: int, **fields: Any) -> dict[str, Any]:
    address = f"203.0.113.{number}" if number % 2 else f"2001:db8:dead:beef::{number}"
    return {
        "time": int(time.time() * 1000),
        "status": 200,
        "id": mark("request", number),
        "method": "GET",
        "route": "/patients/{patient}/letters",
        "path": f"/patients/{mark('path', number)}/letters?token={mark('query', number)}",
        "object": mark("object", number),
        "patient": mark("patient", number),
        "client_ip": address,
        "authenticated": True,
        **fields,
    }


def events() -> Iterator[dict[str, Any] | str]:
    """Yield a partner and a person who both read too much, and everything that cannot be read."""
    for number in range(READS):
        yield event(number, principal="partner-17", principal_kind="api_key")
        yield event(number, principal=mark("session"), principal_kind="session")
        yield event(0, principal=mark("account", number), principal_kind="account")
        yield event(number, principal=None, authenticated=False)
    whole = event(1, principal="partner-1")
    yield "{" + mark("broken")
    yield mark("text")
    yield json.dumps({**whole, mark("field"): 1})
    yield json.dumps({**whole, "status": mark("status")})
    yield json.dumps({**whole, "time": mark("time")})
    yield json.dumps({**whole, "realm": mark("realm") + "/\x1b[31m"})
    yield json.dumps({**whole, "principal": mark("principal") + "\r\nforged: line"})
    yield json.dumps({**whole, "principal_kind": mark("kind")})
    yield json.dumps({**whole, "patients": [{"patient": mark("p"), mark("unknown"): 1}]})
    yield json.dumps({**whole, "id": {mark("id"): [mark("nested")]}})


def kong_log(number: int) -> dict[str, Any]:
    """Return a record of Kong that logs a client's secrets."""
    path = f"/patients/{mark('kong-patient', number)}/letters?q={mark('kong-query', number)}"
    return {
        "started_at": int(time.time() * 1000),
        "client_ip": f"203.0.113.{number}",
        "request": {
            "id": f"req-{number}",
            "method": "GET",
            "uri": path,
            "url": f"https://api.example{path}",
            "querystring": {"q": mark("kong-query", number)},
            "headers": {
                "x-api-key": mark("api-key", number),
                "authorization": f"Bearer {mark('bearer', number)}",
                "cookie": f"sid={mark('cookie', number)}",
                "user-agent": mark("agent", number),
            },
        },
        "response": {"status": 200, "size": 5, "headers": {"x-patient-id": mark("kong-header", number)}},
        "route": {"name": "letters"},
        "authenticated_entity": {"id": "consumer-1"},
    }


def envoy_log(number: int) -> dict[str, Any]:
    return {
        "time": int(time.time() * 1000) / 1000,
        "status": 200,
        "principal": "consumer-2",
        "authenticated": "true",
        "path": f"/appointments/{mark('envoy-object', number)}?patient={mark('envoy-patient', number)}",
        "client_ip": f"203.0.113.{number}:443",
        "id": mark("envoy-id", number),
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


def installed(new_stack: Callable[..., Stack], broker: str, prefix: str, receiver: Receiver) -> Stack:
    sources = [
        {"name": "gate", "topic": f"{prefix}gate", "realm": "gate"},
        {"name": "kong", "topic": f"{prefix}kong", "realm": "gate", "format": "kong-http-log"},
        {"name": "envoy", "topic": f"{prefix}envoy", "realm": "gate", "format": "envoy"},
    ]
    # The folder is known to the stack alone; its settings name files in it by relative paths.
    for source in sources[1:]:
        source["routes"] = ["routes.yaml"]  # type: ignore[assignment]
    stack = new_stack(
        sources=sources,
        response={
            "mode": "enforce",
            "adapters": [
                {
                    "name": "hook",
                    "type": "webhook",
                    "url": receiver.url,
                    "secret_file": "webhook.secret",
                    "private_addresses": True,
                }
            ],
        },
        privacy={"key_file": "privacy.keys", "handle_key_file": "privacy.handles"},
        authz={"listen": "127.0.0.1:0", "realm": "gate"},
    )
    if broker == "cluster":
        for source in sources[1:]:
            create_topic(stack.settings.kafka.bootstrap_servers[0], str(source["topic"]), 3)
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    return stack


def everything_said(stack: Stack, worker: Process, person: str) -> dict[str, bytes]:
    """Run the loop with marks; return all bytes that came out, by place."""
    places: dict[str, bytes] = {}
    service = stack.spawn("authz")
    said = [stack.run("ship", "--source", "gate", "-", lines=_lines(events()))]
    for name, log in (("kong", kong_log), ("envoy", envoy_log)):
        said.append(stack.run("ship", "--source", name, "-", lines=_lines(log(n) for n in range(1, 5))))
    for principal in ("partner-17", person):
        wait_for(lambda subject=principal: stack.credential(f"gate/{subject}"), worker)  # type: ignore[misc]
    wait_for(lambda: stack.decisions("accepted"), worker)
    said += [stack.run("status"), stack.run("status", "--json"), stack.run("config", "show")]
    places["commands"] = "".join(done.stdout + done.stderr for done in said).encode()
    address = service.address()
    wait_for(lambda: b" 403 " in _asked(address, mark("session")), service)
    places["authz"] = b"".join(
        _asked(f"{address}{path}", principal)
        for path, principal in (
            ("/patients", mark("session")),
            ("/-/metrics", ""),
            ("/-/readyz", ""),
            (f"/{mark('asked')}", mark("nobody")),
        )
    )
    places["metrics"] = worker.metrics().encode()
    places["probes"] = b"".join(
        _asked(f"{worker.address()}{path}", "") for path in ("/healthz", "/readyz", "/x")
    )
    assert worker.terminate() == 0
    service.terminate()
    places["logs"] = b"".join(path.read_bytes() for path in stack.folder.glob("*.log"))
    places |= {topic: _topic(stack, topic) for topic in OWN_TOPICS}
    return places


def leaks(places: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return the marks found, by place; the settings that `config show` prints name a network of ours."""
    wanted = marks()
    return {
        place: found
        for place, content in places.items()
        if (found := [one for one in wanted if one in content])
    }


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_mark_is_found_in_other_encodings(before: str):
    text = f"{before}{mark('patient')}".encode()
    for coded in (
        text,
        text.upper(),
        text.hex().encode(),
        base64.b64encode(text),
        base64.urlsafe_b64encode(text),
    ):
        assert leaks({"here": b"x" + coded + b"x"}) != {}
    assert leaks({"here": base64.b64encode(secrets.token_bytes(1_000))}) == {}


@pytest.mark.timeout(300)
def test_no_id_and_no_secret_comes_out_anywhere(
    new_stack: Callable[..., Stack], broker: str, prefix: str, receiver: Receiver, tmp_path: Path
):
    stack = prepared(new_stack, broker, prefix, receiver, tmp_path)
    person = credential_pseudonyms(load_keys(tmp_path / "privacy.keys").credential_key)(
        f"gate/{mark('session')}"
    )
    places = everything_said(stack, stack.worker(), person)
    assert leaks(places) == {}
    # Searched was what is there: every topic that the loop fills, and dead letters of all kinds.
    for topic in ("routed", "state", "findings", "decisions", "credentials", "status", "rejected"):
        assert places[topic], topic
    reasons = {entry["reason"] for entry in stack.entries("rejected")}
    assert {"not_json", "unknown_field", "wrong_type", "bad_value"} <= reasons
    # And the gateway was told which session to end, by the one call that may say so.
    told = {call.data["id"] for call in receiver.calls}
    assert mark("session") in told
    assert person not in told


@pytest.mark.timeout(300)
def test_the_search_finds_a_leak_wherever_it_is(
    new_stack: Callable[..., Stack], broker: str, prefix: str, receiver: Receiver, tmp_path: Path
):
    """The control: a worker that leaks in every way at once."""
    stack = prepared(new_stack, broker, prefix, receiver, tmp_path)
    worker = stack.spawn("worker", module="tests.integration.leaky_worker")
    worker.wait_ready()
    found = leaks(everything_said(stack, worker, mark("session")))
    leaky = {
        "routed",
        "state",
        "findings",
        "decisions",
        "credentials",
        "status",
        "rejected",
        "logs",
        "metrics",
    }
    assert leaky <= set(found), found.keys()


def prepared(
    new_stack: Callable[..., Stack], broker: str, prefix: str, receiver: Receiver, folder: Path
) -> Stack:
    write_new_keys(folder / "privacy.keys", folder / "privacy.handles")
    secret = folder / "webhook.secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    (folder / "routes.yaml").write_text(ROUTES)
    return installed(new_stack, broker, prefix, receiver)


def _lines(entries: Any) -> list[str]:
    return [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]


def _asked(url: str, principal: str) -> bytes:
    """Return a whole answer, status line and headers included."""
    request = urllib.request.Request(url, headers={"x-client-id": principal} if principal else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"HTTP {answer.status} \n{answer.headers}\n".encode() + bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code} \n{error.headers}\n".encode() + error.read()


def _topic(stack: Stack, topic: str) -> bytes:
    """Return every byte of a topic: keys, values and headers of all records."""

    async def read() -> bytes:
        found = []
        kafka = stack.settings.kafka
        for partition in range(kafka.partitions if topic in {"routed", "state"} else 1):
            async for records, _, _ in read_to_end(kafka, stack.settings.topic(topic), partition):
                for record in records:
                    found += [record.key or b"", record.value or b""]
                    found += [part for name, value in record.headers for part in (name.encode(), value)]
        return b"\n".join(found)

    return asyncio.run(read())
