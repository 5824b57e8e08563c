"""Writes the dashboards: ``python grafana/build.py``. A test says whether the JSON is up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from arriving import feeds
from running import engine, response
from watching import detection, on_call

FOLDER: Final = Path(__file__).parent / "dashboards"


def render() -> dict[str, str]:
    """Return file name → text of every dashboard."""
    boards = (on_call(), detection(), feeds(), engine(), response())
    return {
        f"{board['uid'].removeprefix('access-monitor-')}.json": json.dumps(
            board, indent=1, ensure_ascii=False
        )
        + "\n"
        for board in boards
    }


if __name__ == "__main__":
    for name, text in render().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
