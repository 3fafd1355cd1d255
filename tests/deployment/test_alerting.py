"""examples/alerting: each alarm rings on scrapes of the real daemon in that trouble, and none while all is well."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.flow import TICK_S, Deployment
from support.planted import plant
from support.world import World
from token_refresher.daemon.instrumentation import instrumented
from token_refresher.daemon.scheduler import Scheduler
from token_refresher.domain.model import Kind
from token_refresher.web.history import RunHistory
from token_refresher.web.metrics import Metrics
from token_refresher.web.server import create_app

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

_RULES = Path(__file__).resolve().parents[2] / "examples" / "alerting" / "prometheus-rules.yaml"


class Scraped:
    """A daemon under a Deployment's clock, of which each tick takes a scrape."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.scrapes = deployment, list[dict[str, float]]()
        state = RunHistory({}, deployment.refresher().policy, deployment.clock, deployment.world.now)
        metrics = Metrics(state)
        program = functools.cache(
            lambda: instrumented(deployment.refresher(), metrics, state.redis_answered, lambda: False)
        )
        self._loop = Scheduler(
            program, state, clock=deployment.clock, random=lambda: 0.0, new_id=lambda: "0" * 16, on_run=metrics.ran
        )
        self._client = create_app(state, metrics.text).test_client()

    def tick(self, times: int = 1, *, run: bool = True) -> None:
        for _ in range(times):
            if run:
                self._loop.run_once()
            families = text_string_to_metric_families(self._client.get("/metrics").text)
            samples = [sample for family in families for sample in family.samples]
            self.scrapes.append({_series(each.name, each.labels): each.value for each in samples})
            self.deployment.world.advance(TICK_S)

    def series(self) -> list[dict[str, str]]:
        """All scrapes, as promtool reads them: one value a minute, `_` where a series was not there."""
        names = sorted({name for scrape in self.scrapes for name in scrape if name.startswith("token_refresher_")})
        values = {name: [str(scrape.get(name, "_")) for scrape in self.scrapes] for name in names}
        return [{"series": name, "values": " ".join(each)} for name, each in values.items()]


def _series(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ", ".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels.items())) + "}"


def _gone_from_the_start(one: Scraped) -> None:
    one.deployment.simulator.stop()
    one.tick(3)


def _gone_when_it_matters(one: Scraped) -> None:
    one.tick()
    one.deployment.simulator.stop()
    one.deployment.world.advance(7200 - 400)
    one.tick(3)


def _stopped(one: Scraped) -> None:
    one.tick(4)
    one.tick(7, run=False)


def _someone_else(one: Scraped) -> None:
    for _ in range(4):
        one.tick(6)
        one.deployment.simulator.issue(one.deployment.app_ids[0], Kind.ACCESS_TOKEN.value)
    one.tick(6)


def _secret_rotated(one: Scraped) -> None:
    one.tick()
    one.deployment.simulator.rotate_secret(one.deployment.app_ids[0], plant("rotated"), hard=True)
    one.deployment.world.advance(7200 - 1500)
    one.tick(2)


def _redis_gone(one: Scraped) -> None:
    one.tick(2)
    one.deployment.world.redis.pause()
    one.tick(3)
    one.deployment.world.redis.resume()


_TROUBLE: dict[str, Callable[[Scraped], None]] = {
    "CredentialMissing": _gone_from_the_start,
    "LittleTimeLeft": _gone_when_it_matters,
    "NoSuccessfulRun": _stopped,
    "SomeoneElseRefreshes": _someone_else,
    "SecretWrong": _secret_rotated,
    "RedisUnreachable": _redis_gone,
}


@pytest.fixture
def one(world: World) -> Scraped:
    return Scraped(Deployment(world, redis_timeout_s=0.2))


def ringing(one: Scraped, folder: Path, at: list[int]) -> set[str]:
    """The alarms that ring at one of these minutes, as promtool says."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("NOT TESTED, promtool is not installed (Debian: apt install prometheus)")
    expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests: list[Any] = [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": []} for minute in at]
    case = {"interval": "1m", "input_series": one.series(), "promql_expr_test": tests}
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(_RULES)], "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run([program, "test", "rules", str(path)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    found = {name for got in re.findall("got: (.*)", said) for name in re.findall(r'alertname="(\w+)"', got)}
    assert bool(found) == bool(done.returncode), said
    return found


def test_there_is_a_trouble_for_each_alarm() -> None:
    rules = [rule for group in yaml.safe_load(_RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == _TROUBLE.keys()
    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in rules)


@pytest.mark.slow
@pytest.mark.parametrize("alarm", _TROUBLE)
def test_the_alarm_rings_in_its_trouble(alarm: str, one: Scraped, tmp_path: Path) -> None:
    _TROUBLE[alarm](one)
    assert alarm in ringing(one, tmp_path, [len(one.scrapes) - 1])


@pytest.mark.slow
def test_no_alarm_rings_while_all_is_well(one: Scraped, tmp_path: Path) -> None:
    one.tick(10)
    assert ringing(one, tmp_path, [*range(10)]) == set()
