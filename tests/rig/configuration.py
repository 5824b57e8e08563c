"""Settings as a person would write them, for one test's topics on one broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from monitor.intake.key_files import write_new_keys
from monitor.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings


def write_settings(folder: Path, *, broker: str, bootstrap: str, prefix: str, **sections: Any) -> Path:
    """Write a monitor.yaml and a key file; `sections` add to or replace what stands there.

    There is one source, ``gate``, with topic ``<prefix>gate`` and realm ``gate``.
    """
    keys = folder / "privacy.keys"
    if not keys.exists():
        write_new_keys(keys)
    plain: dict[str, Any] = {
        "kafka": {
            "broker": broker,
            "bootstrap_servers": bootstrap.split(","),
            "topic_prefix": prefix,
            "group_prefix": prefix,
            "partitions": 4,
            "replication_factor": 1,
            "min_insync_replicas": 1,
            "connect_timeout_seconds": 10,
            **sections.pop("kafka", {}),
        },
        "sources": [{"name": "gate", "topic": f"{prefix}gate", "realm": "gate"}],
        "privacy": {"key_file": str(keys)},
        **sections,
    }
    path = folder / "monitor.yaml"
    # JSON is YAML too.
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def settings_for(folder: Path, *, broker: str, bootstrap: str, prefix: str, **sections: Any) -> Settings:
    """Return the settings of `write_settings`."""
    path = write_settings(folder, broker=broker, bootstrap=bootstrap, prefix=prefix, **sections)
    return load_settings(path)
