"""`make bench` starts, and what it writes can be used. How fast anything is, is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

_TOOLS = Path(__file__).resolve().parents[1] / "tools"
# EX_TEMPFAIL, by which tools/package.py says that the package registry cannot be reached.
_UNREACHABLE = 75

# Makes the zip: not at the same time as others who do.
pytestmark = pytest.mark.xdist_group("package")


def test_the_smallest_case_gives_rows_with_medians_and_their_spread(tmp_path: Path) -> None:
    command = [sys.executable, str(_TOOLS / "bench.py"), "--only", "reads,zip", "--python", sys.executable]
    done = subprocess.run([*command, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=110)
    if done.returncode == _UNREACHABLE:
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "bench.json").read_text())
    cached = next(row for row in told["rows"] if row["what"] == "cached read, CPU" and row["target"])
    assert cached["ratio"]["low"] <= cached["ratio"]["median"] <= cached["ratio"]["high"]
    assert cached["reached"] in (True, False)
    assert {"cached", "uncached", "new connection", "redis-py GET"} <= set(cached["figures"])
    assert all(figure["median"] > 0 for figure in cached["figures"].values())
    assert told["details"]["zip"]["token_refresher"]["packed"] > 0
    assert "cached read" in done.stdout


def test_an_unknown_section_is_told_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(_TOOLS / "bench.py"), "--only", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there are cold, warm" in done.stderr


def test_the_plot_is_whole_and_tells_measured_from_reckoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_TOOLS))
    from bench.plot import draw

    picture = ElementTree.fromstring(draw({"a & b": [(1, 0.001, True), (1000, 2.0, False)]}))  # noqa: S314 - our own
    circles = [each.get("fill") for each in picture.iter() if each.tag.endswith("circle")]
    assert circles[1] == "white" != circles[0]
