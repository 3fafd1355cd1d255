"""The zip for Function Compute: what is in it, and that it runs with nothing else on the path."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_simulator import CHECK_PATH
from support.world import World

_ROOT = Path(__file__).resolve().parents[2]
_TOOL = _ROOT / "tools" / "build_zip.py"
# What no function can use: it has no command line, and serves nothing.
_OUTSIDE = {"cli", "daemon", "doctor", "web"}
# EX_TEMPFAIL: the registry could not be reached.
_UNREACHABLE = 75
# What Function Compute preinstalls on the one and lacks on the other, and everything those import.
_PACKAGES = {
    "_yaml",
    "async_timeout",
    "certifi",
    "charset_normalizer",
    "fc2",
    "idna",
    "redis",
    "requests",
    "urllib3",
    "websocket",
    "yaml",
}

# Builds once, not once for each worker.
pytestmark = pytest.mark.xdist_group("package")


def _build(output: Path) -> str:
    """Build the zip and return what was printed."""
    command = [sys.executable, str(_TOOL), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == _UNREACHABLE:
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The zip and what its making printed."""
    output = tmp_path_factory.mktemp("dist") / "token-refresher.zip"
    return output, _build(output)


@pytest.fixture(scope="module")
def unpacked(built: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("code")
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def names(built: tuple[Path, str]) -> Iterator[list[str]]:
    with zipfile.ZipFile(built[0]) as archive:
        yield archive.namelist()


def test_all_of_ours_that_runs_in_the_function_is_in_it(unpacked: Path) -> None:
    package = _ROOT / "src" / "token_refresher"
    for source in [_ROOT / "src" / "index.py", *package.rglob("*")]:
        if source.suffix in (".py", ".lua"):
            packed = unpacked / source.relative_to(_ROOT / "src")
            assert packed.exists() is (not _OUTSIDE & set(source.parts))
            assert not packed.exists() or packed.read_bytes() == source.read_bytes()


def test_every_pinned_package_is_in_it_and_nothing_else(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert tops == _PACKAGES | {"index.py", "token_refresher", "licenses"}


def test_nothing_in_it_is_compiled_or_for_tests_or_for_people(names: list[str]) -> None:
    unwanted = re.compile(r"\.(so|pyc|pyi)$|(^|/)(__pycache__|tests|bin|rich|platform_simulator)/|dist-info")
    assert [name for name in names if unwanted.search(name)] == []


def test_nothing_at_its_root_hides_a_module_of_the_standard_library(names: list[str]) -> None:
    roots = {name.partition("/")[0].removesuffix(".py") for name in names}
    assert roots & sys.stdlib_module_names == set()


def test_every_package_brings_its_licence(names: list[str]) -> None:
    licensed = {name.split("/")[1].lower() for name in names if name.startswith("licenses/")}
    # fc2 has none in its archive; its metadata says MIT.
    assert licensed >= {"pyyaml", "redis", "requests", "urllib3", "certifi", "idna", "token_refresher"}


def test_building_again_gives_the_same_bytes(built: tuple[Path, str], tmp_path: Path) -> None:
    again = tmp_path / "token-refresher.zip"
    _build(again)
    assert again.read_bytes() == built[0].read_bytes()


# -- the zip as a whole ----------------------------------------------------------------------------


def test_a_file_whose_digest_is_not_in_the_lock_is_not_taken(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    for name in ("tools", "src"):
        shutil.copytree(_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(_ROOT / name, copy)
    locked = (_ROOT / "requirements.txt").read_text()
    (copy / "requirements.txt").write_text(re.sub(r"(?<=sha256:)[0-9a-f]{8}", "0" * 8, locked))
    command = [sys.executable, str(copy / "tools" / "build_zip.py"), "--output", str(tmp_path / "x.zip")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == _UNREACHABLE:
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list(tmp_path.glob("x*"))


def test_size_digest_and_contents_are_printed(built: tuple[Path, str]) -> None:
    output, printed = built
    assert f"{output.stat().st_size:,} bytes" in printed
    assert f"sha256 {hashlib.sha256(output.read_bytes()).hexdigest()}" in printed
    for top in (*_PACKAGES, "index.py", "token_refresher"):
        assert re.search(rf"^ *[\d,]+  {re.escape(top)}( \(\d+ files\))?$", printed, re.MULTILINE)


def test_it_fits_into_the_function_with_room_to_spare(built: tuple[Path, str]) -> None:
    # A hundred times less than what may be uploaded; start-up time grows with it.
    assert built[0].stat().st_size < 1_500_000


# Runs with only the standard library and the zip's root on the path, as in the function.
_RUNTIME = """
import json, sys
code = sys.argv[1]
standard = list(sys.path)
sys.path.insert(0, code)
import index
class Context:
    request_id = "request-1"
initialize = getattr(index, "initialize", None)
if initialize:
    initialize(Context())
results = [index.handler(sys.argv[2].encode(), Context()) for _ in range(2)]
import fc2, yaml  # what only some settings import is there, too
strangers = [
    name for name, module in sys.modules.items()
    if getattr(module, "__file__", None) and not module.__file__.startswith((code + "/", *standard))
]
print(json.dumps({"results": results, "strangers": strangers, "rich": "rich" in sys.modules}))
"""


@pytest.mark.parametrize("app_count", [1, 2])
def test_the_handler_runs_out_of_it_with_nothing_else_on_the_path(app_count: int, unpacked: Path, world: World) -> None:
    event = {"triggerTime": "2023-12-26T07:49:00Z", "triggerName": "timer-trigger", "payload": ""}
    environment = world.settings_env(app_count)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", _RUNTIME, str(unpacked), json.dumps(event)],
        env=environment,
        cwd=unpacked,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # The function's own log lines come before.
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["strangers"] == []
    assert shown["rich"] is False
    assert len(shown["results"]) == 2
    for number in range(app_count):
        app_id = world.app_id(number)
        for kind, wire in (("access_token", "server_access_token"), ("js_ticket", "js_ticket")):
            stored = world.redis.client().get(f"type/{wire}_info/app_id/{app_id}")
            assert isinstance(stored, bytes)
            assert world.simulator.valid(app_id, kind, json.loads(stored)[wire])
            assert world.simulator.fetches(app_id, kind) == 1
    assert world.simulator.count(CHECK_PATH) == 0
