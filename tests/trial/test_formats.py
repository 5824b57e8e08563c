"""A trial reads a gateway's records as a worker does: its format, a site's own, and the source's routes."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

from monitor.cli.trials import settled
from monitor.intake.key_files import write_new_keys
from tests.formats.samples import FIXTURES, lines

if TYPE_CHECKING:
    from pathlib import Path


def test_a_source_is_read_with_its_own_format_and_routes(tmp_path: Path) -> None:
    write_new_keys(tmp_path / "keys")
    (tmp_path / "own.yaml").write_text("name: own\nextends: nginx\n", encoding="utf-8")
    config = tmp_path / "monitor.yaml"
    source = {"name": "gate", "topic": "gate", "format": "own", "realm": "gate"}
    config.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap_servers": ["127.0.0.1:1"]},
                "formats": ["own.yaml"],
                "privacy": {"key_file": "keys"},
                "sources": [{**source, "routes": [str(FIXTURES / "routes.yaml")]}],
            }
        ),
        encoding="utf-8",
    )
    what = settled([], None, None, "gate", config)
    # Feeds travel to other processes.
    (feed,) = pickle.loads(pickle.dumps(what.reading([tmp_path / "log"]).feeds))
    record = json.loads(lines("nginx")[0]) | {"patient": "", "path": "/fhir/Patient/p-7"}
    (event,) = feed.decoder()(json.dumps(record).encode())
    assert (event.realm, event.principal) == ("gate", "partner-17")
    assert (event.route, event.patients) == ("/fhir/Patient/{patient}", (("p-7", "practice-3"),))
