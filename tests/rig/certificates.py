"""A certificate authority for one test, with a server's and a client's certificate, made by openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server.pem (key and certificate, as Kafka wants it), client.key and client.crt."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(
        folder,
        *[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test-ca",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ],
    )
    (folder / "names.cnf").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n", encoding="ascii")
    for name in ("server", "client"):
        request = f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        _openssl(folder, *request.split())
        sign = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.crt"
        _openssl(folder, *sign.split(), "-extfile", "names.cnf")
    whole = "".join((folder / f"server.{part}").read_text(encoding="ascii") for part in ("key", "crt"))
    (folder / "server.pem").write_text(whole, encoding="ascii")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
