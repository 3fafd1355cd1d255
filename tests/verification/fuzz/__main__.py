"""Search by coverage: `python -m verification.fuzz TARGET --seconds N`; also `--replay`, `--keep`, `--install`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .corpus import FOUND, KEPT, ROOT, files, keep, needed, samples
from .properties import BrokenError
from .targets import TARGETS

# Where the engine is installed: there are wheels for some machines only, so the environment of the tests has none.
_ENGINE = FOUND / f"python{sys.version_info[0]}.{sys.version_info[1]}"
# Longer than any input takes on a busy machine (s), more than the program needs (MB), and than inputs need (bytes).
_LONGEST_S, _MEMORY_MB, _LARGEST = 60, 1024, 4096
# Of what is kept: longer inputs are for the search alone.
_LARGEST_KEPT = 1024
# Search ends by itself this long (s) after its time at the latest.
_PATIENCE_S = 120


def main(arguments: list[str] | None = None) -> int:
    """0 when every property held, 1 when one did not, 2 when there is no engine."""
    parser = argparse.ArgumentParser(
        prog="python -m verification.fuzz", description="Search for inputs that break a property."
    )
    parser.add_argument("target", nargs="?", default="all", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="how long to search, for each target (%(default)s)")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="only try these inputs")
    parser.add_argument("--keep", action="store_true", help="only keep what was found and goes a new way")
    parser.add_argument("--install", action="store_true", help="only install the engine (atheris)")
    options = parser.parse_args(arguments)
    names = list(TARGETS) if options.target == "all" else [options.target]
    if options.install:
        return install()
    if options.replay:
        return max(replay(name, options.replay) for name in names)
    if options.keep:
        for name in names:
            take(name)
        return 0
    if not (_ENGINE / "atheris").is_dir() and install():
        return 2
    return max([search(name, options.seconds) for name in names])


def install() -> int:
    """Install the engine; 2, and a sentence, when there is none for this machine."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--only-binary=:all:"]
    pinned = ["--require-hashes", "-r", str(ROOT / "requirements" / "fuzz.txt")]
    done = subprocess.run([*pip, "--no-deps", "--target", str(_ENGINE), *pinned])
    if done.returncode:
        say("There is no atheris for this Python or machine. The search of tests/verification/test_fuzz.py needs none.")
    return 2 if done.returncode else 0


def search(name: str, seconds: int) -> int:
    """Search for `seconds`; 1 when something was found, with how to try it again."""
    finds, crashes = FOUND / name / "finds", FOUND / name / "crashes"
    for folder in (finds, crashes, KEPT / name):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(files(crashes))
    say(f"{name}: {TARGETS[name].meaning}, {seconds} s")
    # A folder for what inputs need on disk: the engine ends without tidying up.
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        words = Path(place) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in TARGETS[name].words))
        options = [
            str(finds),
            str(KEPT / name),
            f"-max_total_time={seconds}",
            f"-timeout={_LONGEST_S}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-max_len={_LARGEST}",
            f"-dict={words}",
            f"-artifact_prefix={crashes}/",
            "-print_final_stats=1",
        ]
        environ = os.environ | {"TMPDIR": place, "PYTHONPATH": os.pathsep.join([*sys.path, str(_ENGINE)])}
        with open(FOUND / name / "log", "w+") as log:
            command = [sys.executable, "-m", "verification.fuzz.engine", name, *options]
            ended = subprocess.run(command, env=environ, stdout=log, stderr=log, timeout=seconds + _PATIENCE_S)
            log.seek(0)
            said = log.read().splitlines()
    return _tell(name, ended.returncode, said, [path for path in files(crashes) if path not in before])


def _tell(name: str, code: int, said: list[str], crashes: list[Path]) -> int:
    say(*(f"  {line}" for line in said if line.startswith("stat::number_of_executed") or " DONE " in line))
    if not code:
        return 0
    words = [line for line in said if "Error: " in line or line.startswith("SUMMARY: ")]
    say(f"  FOUND: the search ended with {code}, its log is {FOUND / name / 'log'}", *words[:9])
    for path in crashes:
        say(f"  try again: PYTHONPATH=src:tests {sys.executable} -m verification.fuzz {name} --replay {path}")
    return 1


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def replay(name: str, paths: list[Path]) -> int:
    """Try inputs; 1 when a property did not hold for one, which is then told with its trace."""
    import traceback

    broken = 0
    with TARGETS[name].open() as check:
        for path in paths:
            try:
                check(path.read_bytes())
            except BrokenError as error:
                broken = 1
                say(f"{path}: {error}", traceback.format_exc())
            else:
                say(f"{path}: all properties hold for {name}")
    return broken


def take(name: str) -> None:
    """Put those finds into the kept corpus that go a way through our code that none there goes."""
    finds = [path.read_bytes() for path in files(FOUND / name / "finds")]
    with TARGETS[name].open() as check:
        new = needed(check, samples(name), [data for data in finds if len(data) <= _LARGEST_KEPT])
    for data in new:
        keep(name, data)
    say(f"{name}: {len(new)} of {len(finds)} finds are kept now, {len(samples(name))} inputs in all")


def say(*lines: str) -> None:
    sys.stdout.write("\n".join((*lines, "")) if lines else "")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
