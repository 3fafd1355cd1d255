"""compose.yaml: the program accepts every environment in it, services are locked down, and their commands work."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import guards, reaper
from support.planted import plant
from support.redis_server import find_binary, free_port
from support.waiting import wait_until
from token_refresher.settings.loader import SETTINGS, read

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = [_ROOT / "docs" / folder / "how-to" / "run-as-container.md" for folder in ("", "zh-CN")]
_TEXT = (_ROOT / "compose.yaml").read_text("utf-8")
_COMPOSE: dict[str, Any] = yaml.safe_load(_TEXT)
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_REFRESHERS = [name for name, service in _SERVICES.items() if "environment" in service]
_DEMO = {"demo", "demo-platform", "demo-redis"}
# Only a bug makes a test wait this long.
_WAIT_S = 60.0


def interpolated(text: str, **given: str) -> str:
    """The text with each `${NAME:-default}` replaced, as compose does."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: given.get(match[1]) or match[2], text)


def _blocks(path: Path) -> list[str]:
    """The document's blocks of commands."""
    found = re.findall(r"^( *)```\w+\n(.*?)\n *```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What the command of the document makes, with a secret as it is pasted."""
    command = next(block for block in _blocks(_DOCS[0]) if "mkdir secrets" in block)
    given = plant("app-secret") + "\n"
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, input=given, text=True, check=True)
    return tmp_path / "secrets"


def test_the_command_for_the_secrets_makes_each_of_them_readable_in_a_folder_that_is_closed(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    wanted = {Path(each["file"]).name for each in _COMPOSE["secrets"].values()}
    assert {path.name for path in secrets.iterdir()} == wanted
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o644}
    assert len((secrets / "page_token").read_text().strip()) == 48


@pytest.mark.parametrize("name", _REFRESHERS)
def test_the_program_accepts_the_environment_of_the_service(name: str, secrets: Path) -> None:
    service = _SERVICES[name]
    assert service["environment"].keys() <= SETTINGS.keys()
    environ = {
        setting: interpolated(value, APP_ID="100027").replace("/run/secrets", str(secrets))
        for setting, value in service["environment"].items()
    }
    settings = read(environ)
    assert [app.app_id for app in settings.apps] == [environ["APP_ID"]]
    assert settings.warnings == ()


@pytest.mark.parametrize("name", _SERVICES)
def test_the_service_is_locked_down_and_everything_it_names_is_there(name: str) -> None:
    service = _SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(re.findall(r"/run/secrets/(\w+)", str(service))) == set(service.get("secrets", []))
    assert set(service.get("secrets", [])) <= _COMPOSE["secrets"].keys()
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in _SERVICES[other]
        assert _SERVICES[other].get("profiles") == service.get("profiles")


def test_the_demo_needs_no_secrets_and_shares_one_network_interface() -> None:
    assert {name for name, each in _SERVICES.items() if each.get("profiles") == ["demo"]} == _DEMO
    for name in _DEMO:
        service = _SERVICES[name]
        assert "secrets" not in service
        assert "${" not in str(service).replace("${REDIS_IMAGE:-", "")
        assert service.get("network_mode") == (None if name == "demo-platform" else "service:demo-platform")
    environ = _SERVICES["demo"]["environment"]
    assert f"{environ['APP_ID']}:{environ['APP_SECRET']}" in _SERVICES["demo-platform"]["command"]


def test_a_refresher_has_more_time_to_stop_than_it_takes() -> None:
    for name in _REFRESHERS:
        assert int(_SERVICES[name]["stop_grace_period"].removesuffix("s")) > 25


@pytest.mark.slow
def test_compose_accepts_the_file() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="NOT TESTED, compose-spec is not installed")
    read_back = compose_spec.PyCompose.from_json(interpolated(json.dumps(_COMPOSE)))
    assert sorted(read_back.service_names()) == sorted(_SERVICES)


# -- Redis -------------------------------------------------------------------------------------


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
        check = _SERVICES["redis"]["healthcheck"]["test"][1].replace("$$", "$")
        check = check.replace("/run/secrets/redis_url", str(secret))
        check = check.replace("redis-cli", f"{find_binary('redis-cli')} -p {port}")
        wait_until("it is well", lambda: subprocess.run(["sh", "-c", check], capture_output=True).returncode == 0)
        secret.write_text(f"redis://default:wrong@127.0.0.1:{port}/0")
        assert subprocess.run(["sh", "-c", check], capture_output=True).returncode != 0
    finally:
        process.send_signal(signal.SIGTERM)
        guards.see("the log of Redis", process.communicate(timeout=_WAIT_S)[0])
        reaper.forget(process.pid)
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


@pytest.mark.parametrize("path", _DOCS, ids=lambda path: path.name)
def test_the_document_names_every_file_and_variable_that_compose_wants(path: Path) -> None:
    text = path.read_text("utf-8")
    files = {each["file"].removeprefix("./") for each in _COMPOSE["secrets"].values()}
    variables = {*re.findall(r"\$\{([A-Z_]+)", _TEXT), "PIP_INDEX_URL"}
    folders = {(Path(name).parent.name, Path(name).name) for name in files}
    assert [name for folder, name in folders if folder not in text or name not in text] == []
    assert [name for name in variables if name not in text] == []


def test_both_documents_show_the_same_commands() -> None:
    assert _blocks(_DOCS[0]) == _blocks(_DOCS[1])
