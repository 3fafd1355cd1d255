"""The image that the Dockerfile makes: built by a container engine, started, asked and stopped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support import buildah
from support.flow import Deployment
from support.redis_server import find_binary, free_port
from support.waiting import wait_until
from support.world import World
from token_refresher.domain.model import Kind

# One worker, so that the images are built once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

_ROOT = Path(__file__).resolve().parents[2]
_SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((_ROOT / "compose.yaml").read_text("utf-8"))["services"]
# Only a bug makes a test wait this long; pip fetches some 20 packages.
_WAIT_S, _BUILD_S = 60.0, 900.0
_UNREACHABLE = re.compile(r"NewConnectionError|NameResolutionError|ProxyError|(Connect|Read)Timeout|SSLError")


class Images(NamedTuple):
    """The engine, and a container of each image."""

    engine: buildah.Engine
    daemon: str
    simulator: str


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if why := buildah.missing():
        pytest.skip(f"NOT TESTED, there is no container engine: {why}")
    folder = tmp_path_factory.mktemp("buildah")
    try:
        engine = buildah.Engine(folder)
        yield Images(engine, engine.build(), engine.build("simulator"))
    except RuntimeError as error:
        if not _UNREACHABLE.search(str(error)):
            raise
        pytest.skip(f"NOT TESTED, the package index cannot be reached: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _get(url: str, **headers: str) -> tuple[int, str]:
    """The answer's status and text, however long it takes until anyone answers."""
    request, answers = urllib.request.Request(url, headers=headers), list[tuple[int, str]]()  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answered() -> bool:
        try:
            with opener.open(request, timeout=_WAIT_S) as answer:
                answers.append((answer.status, answer.read().decode()))
        except urllib.error.HTTPError as answer:
            answers.append((answer.code, answer.read().decode()))
        except urllib.error.URLError:
            return False
        return True

    wait_until(f"somebody answers at {url}", answered, _WAIT_S)
    return answers[0]


def _until_healthy(port: int) -> None:
    wait_until("the daemon is healthy", lambda: _get(f"http://127.0.0.1:{port}/healthz")[0] == 200, _WAIT_S)


@pytest.mark.timeout(_BUILD_S)
def test_the_image_says_who_runs_what_and_how_it_is_stopped(images: Images) -> None:
    config = images.engine.config(images.daemon)
    assert config["Cmd"] == ["token-refresher", "daemon", "--listen", "0.0.0.0:8080"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert not config["Volumes"]
    labels = {name.rpartition(".")[2] for name in config["Labels"] if name.startswith("org.opencontainers.image.")}
    assert labels == {"title", "description", "licenses", "version", "revision"}


@pytest.mark.timeout(_BUILD_S)
def test_the_image_runs_is_healthy_writes_nothing_and_ends_by_sigterm(images: Images, world: World) -> None:
    engine, deployment, port = images.engine, Deployment(world), free_port()
    config = engine.config(images.daemon)
    words = [word.replace(":8080", f":{port}") for word in config["Cmd"]]
    health = [word.replace(":8080", f":{port}") for word in config["Healthcheck"]["Test"][1:]]
    check = engine.command(images.daemon, *health)
    before = engine.files(images.daemon)
    with engine.running(images.daemon, *words, environ=deployment.environ) as daemon:
        _until_healthy(port)
        assert deployment.fetches(Kind.ACCESS_TOKEN) == deployment.fetches(Kind.JS_TICKET) == 1
        assert subprocess.run(check, capture_output=True).returncode == 0
        assert _get(f"http://127.0.0.1:{port}/")[0] == 404
        assert daemon.stop() == 0, daemon.output
    assert subprocess.run(check, capture_output=True).returncode == 1, "nobody answers"
    told = [json.loads(line)["message"].split(" ")[0] for line in daemon.output.splitlines()]
    assert told == ["no", "started:", "listening", "2", "stopping", "stopped"]
    assert engine.files(images.daemon) == before


@pytest.mark.timeout(_BUILD_S)
def test_the_image_runs_as_nobody_in_particular_and_holds_nothing_that_installs(images: Images) -> None:
    code = "import os, importlib.util as found; print(os.getuid(), os.getgid(), found.find_spec('pip'))"
    done = subprocess.run(images.engine.command(images.daemon, "python", "-c", code), capture_output=True, text=True)
    assert done.stdout.split() == ["10001", "10001", "None"]
    program = [name for name in images.engine.files(images.daemon) if name.startswith("opt/")]
    assert any(name.endswith("token_refresher/__pycache__") for name in program), "compiled, for nothing is written"
    assert not [name for name in program if "platform_simulator" in name]


@pytest.mark.timeout(_BUILD_S)
def test_the_demo_of_compose_is_healthy_and_shows_its_page(images: Images, tmp_path: Path) -> None:
    ports = {"8080": free_port(), "8700": free_port(), "6379": free_port()}

    def moved(words: list[str]) -> list[str]:
        """With ports that are free here: the containers share this machine's network, as the demo's share one."""
        return [re.sub("|".join(ports), lambda match: str(ports[match[0]]), word) for word in words]

    environ = _SERVICES["demo"]["environment"]
    environ = dict(zip(environ, moved(list(environ.values())), strict=True))
    platform = [*images.engine.config(images.simulator)["Entrypoint"], *_SERVICES["demo-platform"]["command"]]
    redis = [find_binary(), *_SERVICES["demo-redis"]["command"][1:], "--port", str(ports["6379"])]
    redis[redis.index("/tmp")] = str(tmp_path)  # noqa: S108 - inside a container
    server = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
    try:
        with (
            images.engine.running(images.simulator, *moved(platform), environ={}),
            images.engine.running(images.daemon, *moved(_SERVICES["demo"]["command"]), environ=environ) as demo,
        ):
            _until_healthy(ports["8080"])
            page = f"http://127.0.0.1:{ports['8080']}/"
            assert _get(page, Accept="text/plain")[0] == 401
            status, text = _get(page, Authorization="Bearer demo-status-page")
            assert (status, "access_token" in text) == (200, True)
            assert demo.stop() == 0, demo.output
    finally:
        server.terminate()
        server.wait(_WAIT_S)


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("NOT TESTED, hadolint is not installed")
    done = subprocess.run([found, "--no-color", str(_ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_all_that_the_engine_sees() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (_ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    copied = {name.split("/")[0] for names in copies for name in names.split()}
    first, *lines = [line for line in (_ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    assert first == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_everything_that_is_installed_is_pinned_by_its_digest() -> None:
    text = (_ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    pips = re.findall(r"\bpip (?:--python \S+ )?(install|wheel) ([^&\n]*)", text)
    assert len(pips) == 4
    for command, rest in pips:
        # From a lock, or from what is there already.
        assert "--require-hashes" in rest or {"--no-index", "."} & {*rest.split()}
        assert command == "install" or "--no-build-isolation" in rest, "pip would fetch another builder"
