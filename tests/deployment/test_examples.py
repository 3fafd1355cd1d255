"""examples/kubernetes and examples/systemd: accepted by validators, locked down, with settings that are right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.planted import plant
from token_refresher.cli.parser import parse
from token_refresher.settings.loader import read

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_MANIFESTS = sorted((_ROOT / "examples" / "kubernetes").glob("*.yaml"))
_UNITS = sorted((_ROOT / "examples" / "systemd").iterdir())
_SERVICES = [path for path in _UNITS if path.suffix == ".service"]
# The oldest and the newest that are looked after.
_KUBERNETES = ("1.32", "1.35")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "app_secret").write_text(plant("app-secret"))
    (folder / "redis_url").write_text(f"redis://:{plant('redis')}@redis:6379/0")
    (folder / "page_token").write_text(plant("page-token"))
    return folder


def _program_accepts(words: list[str], environ: dict[str, str], where: str, secrets: Path) -> None:
    """The command line parses, its files and those of the settings are there, and the settings have no mistake."""
    assert words[0].endswith("token-refresher")
    parse(words[1:])
    moved = {name: value.replace(where, str(secrets)) for name, value in environ.items()}
    files = re.findall(rf"{where}/(\w+)", " ".join([*words, *environ.values()]))
    assert [name for name in files if not (secrets / name).is_file()] == []
    assert read(moved).warnings == ()


# -- Kubernetes --------------------------------------------------------------------------------


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def _pods() -> list[dict[str, Any]]:
    deployment, cronjob = (
        _documents(_ROOT / "examples/kubernetes" / f"{name}.yaml")[0] for name in ("deployment", "cronjob")
    )
    return [deployment["spec"]["template"]["spec"], cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]]


@pytest.mark.slow
@pytest.mark.parametrize("version", _KUBERNETES)
@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_accepts_every_manifest(path: Path, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="NOT TESTED, kubernetes-validate is not installed")
    for document in _documents(path):
        validator.validate(document, version, strict=True)
    document["spec"]["no_such_field"] = 1
    with pytest.raises(validator.ValidationError):
        validator.validate(document, version, strict=True)


@pytest.mark.parametrize("pod", _pods(), ids=["deployment", "cronjob"])
def test_a_pod_has_no_privileges_and_settings_that_the_program_takes(pod: dict[str, Any], secrets: Path) -> None:
    (container,) = pod["containers"]
    security = pod["securityContext"] | container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    (mount,) = container["volumeMounts"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    _program_accepts(container["args"], environ, mount["mountPath"], secrets)


def test_a_restart_depends_on_the_loop_and_readiness_on_the_credentials() -> None:
    (container,) = _pods()[0]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert _pods()[0]["terminationGracePeriodSeconds"] > 25
    deployment, service = _documents(_ROOT / "examples/kubernetes/deployment.yaml")
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert {each["targetPort"] for each in service["spec"]["ports"]} == {container["ports"][0]["name"]}


# -- systemd -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", _SERVICES, ids=lambda path: path.name)
def test_a_service_has_settings_that_the_program_takes(path: Path, secrets: Path) -> None:
    text = path.read_text("utf-8")
    command = re.findall("^ExecStart=(.*)", text, re.MULTILINE)[0].split()
    (line,) = re.findall("^Environment=(.*)", text, re.MULTILINE)
    environ = dict(word.split("=", 1) for word in line.split())
    _program_accepts(command, {"APP_ID": "100027", **environ}, "/etc/token-refresher", secrets)


@pytest.mark.slow
def test_systemd_accepts_every_unit_and_finds_the_services_closed(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("NOT TESTED, systemd-analyze is not installed")
    for path in _UNITS:
        text = path.read_text("utf-8").replace("/opt/token-refresher/bin/token-refresher", sys.executable)
        (tmp_path / path.name).write_text(text)
    units = [str(tmp_path / path.name) for path in _UNITS]
    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True)
    # What else is installed on this machine may be at fault, too; only ours is meant.
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if "token-refresher" in line]
    assert wrong == []
    for path in _SERVICES:
        closed = [program, "security", "--offline=true", "--threshold=25", str(tmp_path / path.name)]
        done = subprocess.run(closed, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
