"""HTTP to gateways: which addresses are connected to, whose certificate is believed, which secrets are read."""

from __future__ import annotations

import socket
import ssl
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from monitor.errors import ConfigurationError
from monitor.response.outbound import NoAnswerError, Outbound, UnfitError, is_private, part
from monitor.response.secret_file import SecretError, SecretFile, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("172.16.0.1", True), ("192.168.1.1", True), ("100.64.0.1", True),
        ("169.254.169.254", True), ("0.0.0.0", True), ("224.0.0.1", True), ("255.255.255.255", True),
        ("::1", True), ("fe80::1%eth0", True), ("fc00::1", True), ("::ffff:127.0.0.1", True), ("::", True),
        ("64:ff9b::7f00:1", True), ("64:ff9b::a9fe:a9fe", True), ("2002:7f00:1::", True), ("ff02::1", True),
        ("8.8.8.8", False), ("2606:4700::1111", False), ("::ffff:8.8.8.8", False), ("64:ff9b::808:808", False),
    ],
)  # fmt: skip
def test_which_addresses_are_private(address: str, *, private: bool):
    assert is_private(address) is private


@pytest.mark.parametrize("id_", [".", "..", "a/b", "a\\b", "a;b", "a%2fb", "a?b", "a#b", "a\nb", "a\x00"])
def test_an_id_that_could_be_more_than_a_name_is_no_part_of_an_address(id_: str):
    with pytest.raises(UnfitError):
        part(id_)


@pytest.mark.parametrize(
    ("id_", "quoted"), [("a b", "a%20b"), ("a.b", "a.b"), ("é", "%C3%A9"), ("a:b@c", "a%3Ab%40c")]
)
def test_an_id_is_quoted(id_: str, quoted: str):
    assert part(id_) == quoted


class Served:
    """A server on loopback that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.port = 0
        self.answer: Any = lambda: web.Response(text="ok")

    async def take(self, _request: web.BaseRequest) -> web.Response:
        self.calls += 1
        made: web.Response = self.answer()
        return made


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    runner = web.ServerRunner(web.Server(made.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def outbound(url: str, *, private: bool = True, **changes: Any) -> Outbound:
    return Outbound(url, timeout=timedelta(seconds=10), limit=4, private_addresses=private, **changes)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"]
)
async def test_private_addresses_are_connected_to_only_where_that_is_allowed(served: Served, host: str):
    """However they are written: what is checked is what is connected to."""
    strict = outbound(f"http://{host}:{served.port}", private=False)
    with pytest.raises(NoAnswerError):
        await strict.call("GET", "/")
    await strict.close()
    assert served.calls == 0


async def test_the_reason_says_which_setting_allows_it(served: Served):
    strict = outbound(f"http://127.0.0.1:{served.port}", private=False)
    with pytest.raises(NoAnswerError, match="set private_addresses"):
        await strict.call("GET", "/")
    await strict.close()
    allowed = outbound(f"http://127.0.0.1:{served.port}")
    assert (await allowed.call("GET", "/")).body == b"ok"
    await allowed.close()


async def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the name was when the configuration was written: each connection's own address is checked."""
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "gate.example" else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    strict = outbound(f"https://gate.example:{served.port}", private=False)
    with pytest.raises(NoAnswerError, match="set private_addresses"):
        await strict.call("GET", "/")
    await strict.close()
    assert served.calls == 0


async def test_plain_http_goes_to_private_addresses_alone(monkeypatch: pytest.MonkeyPatch):
    made = outbound("http://8.8.8.8:9")
    with pytest.raises(NoAnswerError, match="needs https"):
        await made.call("GET", "/")
    await made.close()


async def test_a_redirect_is_an_answer_and_not_followed(served: Served):
    served.answer = lambda: web.Response(
        status=302, headers={"location": f"http://127.0.0.1:{served.port}/x"}
    )
    made = outbound(f"http://127.0.0.1:{served.port}")
    assert (await made.call("GET", "/")).status == 302
    await made.close()
    assert served.calls == 1


async def test_an_answer_that_is_too_large_is_none(served: Served):
    served.answer = lambda: web.Response(body=b"x" * (5 << 20))
    made = outbound(f"http://127.0.0.1:{served.port}")
    with pytest.raises(NoAnswerError):
        await made.call("GET", "/")
    await made.close()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a name, signed by itself."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key)]
    names = f"subjectAltName=DNS:{name}" + (",IP:127.0.0.1" if name == "localhost" else "")
    subprocess.run(
        [*command, "-out", str(cert), "-subj", f"/CN={name}", "-addext", names],
        check=True,
        capture_output=True,
    )
    return key, cert


@pytest.mark.parametrize(
    ("name", "trusted", "believed"),
    [("localhost", True, True), ("localhost", False, False), ("other.example", True, False)],
)
async def test_a_certificate_is_verified(tmp_path: Path, name: str, *, trusted: bool, believed: bool):
    """By whom it was signed, and for which name."""
    key, cert = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    served = Served()
    runner = web.ServerRunner(web.Server(served.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made = outbound(f"https://127.0.0.1:{runner.addresses[0][1]}", ca_file=cert if trusted else None)
    try:
        if believed:
            assert (await made.call("GET", "/")).ok
        else:
            with pytest.raises(NoAnswerError, match="Certificate"):
                await made.call("GET", "/")
            assert served.calls == 0
    finally:
        await made.close()
        await runner.cleanup()


def test_an_authority_that_is_none_is_named(tmp_path: Path):
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="PEM"):
        outbound("https://gate.example", ca_file=bad)


def secret(path: Path, text: str = "a-token\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o620, 0o666, 0o604])
def test_a_secret_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int):
    path = secret(tmp_path / "s", mode=mode)
    with pytest.raises(SecretError, match="chmod 600"):
        SecretFile(path, one_line).load()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_secret_of_its_owner_and_group_is_read(tmp_path: Path, mode: int):
    """Orchestrators give secrets to a group."""
    assert SecretFile(secret(tmp_path / "s", mode=mode), one_line).load() == "a-token"


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\x00b", "é", "a\nb"])
def test_a_secret_that_is_none_is_refused_and_not_shown(tmp_path: Path, text: str):
    made = SecretFile(secret(tmp_path / "s", text), one_line)
    with pytest.raises(SecretError) as caught:
        made.load()
    assert "two words" not in str(caught.value)


def test_a_secret_that_is_being_replaced_by_a_bad_one_stays_in_use(tmp_path: Path):
    """A half-written secret must not keep a credential from being refused."""
    made = SecretFile(secret(tmp_path / "s"), one_line)
    assert made.newest() == "a-token"
    secret(tmp_path / "s", "")
    assert made.newest() == "a-token"
    with pytest.raises(SecretError):
        made.load()
    (tmp_path / "s").unlink()
    assert made.newest() == "a-token"
    secret(tmp_path / "s", "another")
    assert made.newest() == "another"
    assert "another" not in repr(made) + repr(vars(made)["_path"])
