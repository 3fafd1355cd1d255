"""Dockerfile and compose.yaml: parsed and checked, and their commands run, though no container engine is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support import guards, reaper
from support.flow import Deployment
from support.planted import plant
from support.redis_server import find_binary, free_port
from support.world import World
from token_refresher.domain.model import Kind
from token_refresher.settings.loader import read
from token_refresher.settings.schema import SETTINGS

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = ("docs/how-to/run-as-container.md", "docs/zh-CN/how-to/run-as-container.md")
_DOCS = [_ROOT / name for name in _PAGES if (_ROOT / name).is_file()]
# Only a bug makes a test wait this long; pip fetches some 20 packages.
_WAIT_S, _BUILD_S = 60.0, 300.0
_UNREACHABLE = re.compile(r"NewConnectionError|NameResolutionError|ProxyError|(Connect|Read)Timeout|SSLError")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile: `RUN`, and what stands behind it, on one line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """An exec form's words."""
        words: list[str] = json.loads(self.rest)
        return words


def instructions(text: str) -> list[Instruction]:
    """A Dockerfile's instructions; continued lines are joined, comments left out. Knows no here-documents."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*re.split(r"\s+", line, maxsplit=1)) for line in joined.splitlines()]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, from its FROM on."""
    found: list[list[Instruction]] = []
    for each in instructions(text):
        if each.name == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


_BUILD, _FINAL = stages((_ROOT / "Dockerfile").read_text())
_COMPOSE: dict[str, Any] = yaml.safe_load((_ROOT / "compose.yaml").read_text())
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]


def _rest(stage: list[Instruction], name: str) -> list[str]:
    return [each.rest for each in stage if each.name == name]


# -- the Dockerfile ----------------------------------------------------------------------------


def test_a_dockerfile_is_parsed_with_continued_lines_and_without_comments() -> None:
    text = 'ARG A=1\nFROM x AS y\n# no\nRUN a && \\\n    # no\n    b\nCMD ["c", "d e"]\n'
    assert stages(text) == [[("FROM", "x AS y"), ("RUN", "a && b"), ("CMD", '["c", "d e"]')]]
    assert stages(text)[0][-1].words == ["c", "d e"]


def test_the_image_runs_the_daemon_as_nobody_in_particular_and_is_stopped_by_sigterm() -> None:
    assert _FINAL[-1].name == "CMD"
    assert _FINAL[-1].words == ["token-refresher", "daemon", "--listen", "0.0.0.0:8080"]
    (user,) = _rest(_FINAL, "USER")
    uid, gid = user.split(":")
    assert int(uid) >= 10000, "by number, and not one of the host's"
    assert any(f"--uid {uid} --gid {gid} " in run for run in _rest(_FINAL, "RUN"))
    assert _rest(_FINAL, "STOPSIGNAL") == ["SIGTERM"]
    assert _rest(_FINAL, "EXPOSE") == ["8080"]


def test_the_image_writes_nothing_when_it_runs_and_holds_nothing_that_installs() -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(_rest(_FINAL, "ENV"))
    assert not _rest(_FINAL, "VOLUME")
    assert not [run for run in _rest(_FINAL, "RUN") if "pip" in run or "apt" in run]
    assert _rest(_FINAL, "COPY") == ["--from=build /opt/token-refresher /opt/token-refresher"]
    build = " && ".join(_rest(_BUILD, "RUN"))
    assert "venv --without-pip" in build
    assert "--compile" in build


def test_the_image_says_what_it_is() -> None:
    pairs = [word.partition("=") for word in shlex.split(" ".join(_rest(_FINAL, "LABEL")))]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, _, value in pairs}
    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    project = (_ROOT / "pyproject.toml").read_text()
    said = dict(re.findall(r'^(name|version|license) = "([^"]+)"', project, re.MULTILINE))
    assert (labels["title"], labels["licenses"]) == (said["name"], said["license"])
    assert f"VERSION={said['version']}" in _rest(_FINAL, "ARG")


def test_everything_that_is_installed_is_pinned_by_its_digest_and_leaves_no_cache() -> None:
    pips = [run for step in _rest(_BUILD, "RUN") for run in step.split("&&") if " pip " in f" {run.strip()} "]
    assert len(pips) == 4
    for run in pips:
        assert "--no-cache-dir" in run
        # From a lock, or from what is there already.
        assert "--require-hashes" in run or {"--no-index", "."} & {*run.split()}
    for run in pips[1:]:
        assert "--no-deps" in run
    locks = re.findall(r"-r (\S+)", " ".join(pips))
    assert locks == ["requirements-build.lock", "requirements.lock", "requirements-daemon.lock"]
    assert all("--no-build-isolation" in run for run in pips if " wheel " in run), "pip would fetch another builder"


def test_what_is_copied_into_the_image_is_there_and_is_all_that_docker_sees() -> None:
    copied = [name for rest in _rest(_BUILD, "COPY") for name in rest.split()[:-1]]
    assert [name for name in copied if not (_ROOT / name).exists()] == []
    ignore = [line for line in (_ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignore[0] == "*"
    assert sorted(line[1:] for line in ignore if line.startswith("!")) == sorted(copied)


def test_the_health_check_asks_the_address_that_the_command_serves() -> None:
    (rest,) = _rest(_FINAL, "HEALTHCHECK")
    words = json.loads(rest[rest.index("CMD") + 3 :])
    assert words[:2] == ["python", "-c"]
    assert "'http://127.0.0.1:8080/healthz'" in words[2]
    assert "ProxyHandler({})" in words[2]


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("NOT TESTED, hadolint is not installed")
    done = subprocess.run([found, "--no-color", str(_ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# -- compose.yaml ------------------------------------------------------------------------------


def test_compose_accepts_the_file() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="NOT TESTED, compose-spec is not installed")
    read = compose_spec.PyCompose.from_json(json.dumps(_COMPOSE))
    assert sorted(read.service_names()) == sorted(_SERVICES)


@pytest.mark.parametrize("name", sorted(_SERVICES))
def test_every_service_is_locked_down_and_everything_it_names_is_there(name: str) -> None:
    service = _SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - inside a container
    assert not service.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(service.get("secrets", [])) <= set(_COMPOSE["secrets"])
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in _SERVICES[other]
        assert _SERVICES[other].get("profiles", service.get("profiles")) == service.get("profiles")
    for volume in service.get("volumes", []):
        assert volume.split(":")[0] in _COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["refresher", "demo"])
def test_the_refresher_gets_settings_that_exist_and_secrets_as_files(name: str) -> None:
    service = _SERVICES[name]
    for setting, value in service["environment"].items():
        assert setting in SETTINGS
        if SETTINGS[setting].secret and value.startswith("file:"):
            assert value.removeprefix("file:/run/secrets/") in service["secrets"]
        elif SETTINGS[setting].secret:
            assert value in ("demo-secret", "${PLATFORM_HTTPS_PROXY:-}")
    assert service["image"] == _SERVICES["platform"]["image"]
    # Longer than the daemon itself waits, so that it is never killed.
    assert int(service["stop_grace_period"].removesuffix("s")) > 25
    assert "command" not in service, "the image's own"


def test_the_stand_in_of_the_platform_comes_only_with_the_profile_demo() -> None:
    assert {name for name, each in _SERVICES.items() if each.get("profiles") == ["demo"]} == {"platform", "demo"}
    assert {name for name, each in _SERVICES.items() if not each.get("profiles")} == {"redis", "refresher"}
    demo = _SERVICES["demo"]["environment"]
    assert demo["PLATFORM_BASE_URL"] == "http://platform:8700"
    assert f"{demo['APP_ID']}:{demo['APP_SECRET']}" in _SERVICES["platform"]["command"]


def test_redis_starts_as_compose_says_with_the_password_out_of_the_address(tmp_path: Path) -> None:
    password, port = plant("redis").replace("-", ""), free_port()
    secret = tmp_path / "redis_url"
    # The name `redis` is known in compose's network only.
    secret.write_text(f"redis://default:{password}@127.0.0.1:{port}/0")
    shell, flag, script = _SERVICES["redis"]["command"]
    script = script.replace("$$", "$").replace("/run/secrets/redis_url", str(secret)).replace("/data", str(tmp_path))
    script = script.replace("exec redis-server -", f"exec {find_binary()} - --port {port} --bind 127.0.0.1")
    process = subprocess.Popen([shell, flag, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reaper.watch(process.pid)
    try:
        test = _SERVICES["redis"]["healthcheck"]["test"]
        assert test[0] == "CMD-SHELL"
        check = test[1].replace("$$", "$").replace("/run/secrets/redis_url", str(secret))
        check = check.replace("redis-cli", f"{find_binary('redis-cli')} -p {port}")
        _wait_for(lambda: subprocess.run(["sh", "-c", check], capture_output=True).returncode == 0)
        secret.write_text(f"redis://default:wrong@127.0.0.1:{port}/0")
        assert subprocess.run(["sh", "-c", check], capture_output=True).returncode != 0
    finally:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=_WAIT_S)[0]
        reaper.forget(process.pid)
    guards.see("the log of Redis", output)
    assert process.returncode == 0
    assert list(tmp_path.glob("appendonly*"))


def test_redis_does_not_start_without_a_password(tmp_path: Path) -> None:
    secret = tmp_path / "redis_url"
    secret.write_text("redis://redis:6379/0")
    script = _SERVICES["redis"]["command"][2].replace("$$", "$").replace("/run/secrets/redis_url", str(secret))
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "secrets/redis_url is not redis://default:PASSWORD@redis:6379/0" in done.stderr


# -- the documents -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", _DOCS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_the_document_names_every_file_and_variable_that_compose_wants(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for secret in _COMPOSE["secrets"].values():
        assert secret["file"].removeprefix("./") in text
    for variable in re.findall(r"\$\{([A-Z_]+)", (_ROOT / "compose.yaml").read_text()):
        assert variable in text
    for name in ("/healthz", "/livez", "/metrics", "--stop-timeout", "10001"):
        assert name in text


def test_the_printed_commands_make_the_secrets_that_compose_wants(tmp_path: Path) -> None:
    text = _DOCS[0].read_text(encoding="utf-8")
    (block,) = re.findall(r"^   ```sh\n((?:   .*\n)*?   mkdir -m 700 secrets\n(?:   .*\n)*?)   ```", text, re.MULTILINE)
    secret = plant("secret-of-compose")
    subprocess.run(["sh", "-euc", block], cwd=tmp_path, input=f"{secret}\n", text=True, check=True)
    folder = tmp_path / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "redis_url": 0o644,
        "app_secret": 0o644,
    }
    url = (folder / "redis_url").read_text()
    assert re.fullmatch(r"redis://default:[0-9a-f]{48}@redis:6379/0", url)
    settings = read(
        {"APP_ID": "100027", "APP_SECRET": f"file:{folder}/app_secret", "REDIS_URL": f"file:{folder}/redis_url"}
    )
    assert settings.apps[0].secret.reveal() == secret


# -- the image's own command ---------------------------------------------------------------------


class Image:
    """What the Dockerfile's build stage makes, made in a folder instead of a container.

    Its COPY and RUN are carried out one after the other, with `/build` and `/opt` below the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.opt = folder / "opt" / "token-refresher"
        self._build, self._base = folder / "build", folder / "base"
        self._build.mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(self._base)], check=True, capture_output=True)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PATH": f"{self._base / 'bin'}:{os.environ['PATH']}",
        }
        for name, rest in _BUILD:
            if name == "COPY":
                self._copy(*rest.split())
            elif name == "RUN":
                self._run(rest.replace("/opt/token-refresher", str(self.opt)))

    def environ(self, settings: dict[str, str], home: Path) -> dict[str, str]:
        """The environment of the final stage, and the settings; nothing else is there."""
        image = {"PATH": f"{self.opt / 'bin'}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        said = " ".join(_rest(_FINAL, "ENV"))
        assert all(name in said for name in image)
        return image | {"HOME": str(home / "nonexistent")} | settings

    def files(self) -> list[str]:
        return sorted(str(path) for path in self.opt.rglob("*"))

    def _copy(self, *names: str) -> None:
        *sources, target = names
        for source in sources:
            if (_ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
                shutil.copytree(_ROOT / source, self._build / target, ignore=ignored)
            else:
                shutil.copy(_ROOT / source, self._build / target)

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=self._build, env=self._environ, capture_output=True, text=True
        )
        if done.returncode and _UNREACHABLE.search(done.stderr):
            pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(_BUILD_S)
def test_the_images_command_runs_in_what_the_dockerfile_builds_and_writes_nothing(world: World, tmp_path: Path) -> None:
    image, deployment, home = Image(tmp_path), Deployment(world), tmp_path / "home"
    home.mkdir()
    environ, before = image.environ(deployment.environ, home), image.files()
    words, port = _with_free_port(_FINAL[-1].words)
    process = subprocess.Popen(
        words,
        # By the image's path, as in a container.
        executable=shutil.which(words[0], path=environ["PATH"]),
        env=environ,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    reaper.watch(process.pid)
    check = _health_check(port, environ)
    try:
        _wait_for(lambda: subprocess.run(check, env=environ, capture_output=True).returncode == 0)
        assert deployment.fetches(Kind.ACCESS_TOKEN) == deployment.fetches(Kind.JS_TICKET) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=_WAIT_S)[0]
        reaper.forget(process.pid)
    guards.see("the container's log", output)
    assert process.returncode == 0, output
    told = [json.loads(line) for line in output.splitlines()]
    words = [each["message"].split(" ")[0] for each in told]
    assert words == ["no", "started:", "listening", "2", "stopping", "stopped"]
    assert told[0]["message"].startswith("no status page: ")
    assert subprocess.run(check, env=environ, capture_output=True).returncode == 1, "nobody answers"
    assert image.files() == before
    assert list(home.iterdir()) == []
    simulator = [image.opt / "bin" / "python", *_SERVICES["platform"]["command"][1:3], "--help"]
    assert subprocess.run(simulator, env=environ, capture_output=True).returncode == 0


def _with_free_port(words: list[str]) -> tuple[list[str], int]:
    """The words as they are, if nobody has their port; else with another port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", 8080))  # noqa: S104 - as the command does
        except OSError:
            port = free_port()
            return [word.replace(":8080", f":{port}") for word in words], port
    return words, 8080


def _health_check(port: int, environ: dict[str, str]) -> list[str]:
    (rest,) = _rest(_FINAL, "HEALTHCHECK")
    words = json.loads(rest[rest.index("CMD") + 3 :].replace(":8080", f":{port}"))
    return [str(shutil.which(words[0], path=environ["PATH"])), *words[1:]]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.05)
