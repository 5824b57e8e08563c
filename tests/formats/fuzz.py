"""Fuzz all formats with atheris: any bytes are an event that is sane, or a clean rejection.

`make fuzz ARGS="-max_total_time=600"` runs it in an environment of its own; the options are libFuzzer's.
The first byte chooses the format. What it finds is kept in .cache/fuzz-corpus.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["monitor.intake", "monitor.errors"]):
    from tests.formats.checks import attempt
    from tests.formats.samples import NAMES, lines

CORPUS = Path(__file__).parents[2] / ".cache" / "fuzz-corpus"
LONGEST = 4096


def one(data: bytes) -> None:
    """Read one record; whatever else than an event or a rejection comes out is a finding."""
    if data:
        headers = [("ce_specversion", b"1.0"), ("ce_time", data[1:30])] if data[0] & 128 else []
        attempt(NAMES[data[0] % len(NAMES)], data[1:], headers)


def main() -> None:
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        for line_number, line in enumerate(lines(name)):
            seed = CORPUS / f"{name}-{line_number}"
            if not seed.exists():
                seed.write_bytes(bytes([number]) + line)
    atheris.Setup([*sys.argv, f"-max_len={LONGEST}", "-timeout=10", str(CORPUS)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
