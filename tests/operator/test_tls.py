"""The API over TLS, as commands reach it beyond one machine."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from monitor.errors import ConfigurationError, ExitCode
from tests.operator.service import Service
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.operator.stage import Staff


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 that vouches for itself, and its key."""
    certificate, key = folder / "tls.pem", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_commands_reach_it_only_where_they_trust_it(tmp_path: Path, staff: Staff):
    certificate, key = make_certificate(tmp_path)
    operator = {**staff.settings, "tls_certificate_file": str(certificate), "tls_key_file": str(key)}
    settings = settings_for(
        tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", operator=operator
    )
    config = tmp_path / "laptop.yaml"
    config.write_text("{}")
    service = Service(settings, staff, config)
    try:
        said = service.monitor("credentials", "list")
        assert said.code == ExitCode.NO_PERMISSION
        assert "set operator.ca_file" in said.err
        config.write_text(json.dumps({"operator": {"ca_file": str(certificate)}}))
        said = service.monitor("credentials", "list")
        assert (said.code, said.out) == (0, "No credential is refused, held or exempt.\n")
    finally:
        service.stop()


def test_a_key_that_does_not_fit_is_told_at_the_start(tmp_path: Path, staff: Staff):
    certificate, _ = make_certificate(tmp_path)
    wrong = {**staff.settings, "tls_certificate_file": str(certificate), "tls_key_file": str(certificate)}
    settings = settings_for(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", operator=wrong)
    from monitor.observe.metrics import Metrics
    from monitor.response.operators.api import OperatorApi

    async def nowhere() -> None:
        return None

    with pytest.raises(ConfigurationError, match=r"operator\.tls_certificate_file"):
        OperatorApi(settings, Metrics(), lambda: None, nowhere)
