"""What is uploaded: its size, and what is in it."""

from __future__ import annotations

from .place import contents
from .results import Bench, Row


def run(bench: Bench) -> None:
    """Bytes in the zip, by what lies at its root."""
    found = contents(bench.archive)
    bench.details["zip"] = {name: {"packed": packed, "unpacked": whole} for name, (packed, whole) in found.items()}
    figures = {"all": (float(bench.archive.stat().st_size), "MB")}
    figures |= {name: (float(packed), "MB") for name, (packed, _) in found.items() if packed > 20_000}
    bench.add(Row("zip", "the zip, compressed", figures=figures))
