"""The function as s.yaml and template.yml describe it: both the same, and as the program needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from token_refresher.domain.function_timeout import needed_s
from token_refresher.domain.policy import Policy
from token_refresher.settings.schema import SETTINGS

_ROOT = Path(__file__).resolve().parents[2]
# Function Compute's limit for all environment variables, and what to allow for each unknown value.
_ENVIRONMENT_BYTES, _ALLOWANCE_BYTES = 4096, 256
_UNITS_S = {"s": 1, "m": 60, "h": 3600}


class Function(NamedTuple):
    """One function as a file describes it; `values` are its environment variables, as they stand in the file."""

    runtime: Any
    handler: Any
    initializer: Any
    initializer_timeout_s: Any
    timeout_s: Any
    memory_mb: Any
    retries: Any
    max_age_s: Any
    timer: Any
    values: Mapping[str, Any]


def _of_serverless_devs() -> Function:
    (resource,) = yaml.safe_load((_ROOT / "s.yaml").read_text("utf-8"))["resources"].values()
    props = resource["props"]
    hook, asynchronous = props["instanceLifecycleConfig"]["initializer"], props["asyncInvokeConfig"]
    (trigger,) = props["triggers"]
    return Function(
        *(props["runtime"], props["handler"], hook["handler"], hook["timeout"], props["timeout"], props["memorySize"]),
        *(asynchronous["maxAsyncRetryAttempts"], asynchronous["maxAsyncEventAgeInSeconds"], trigger["triggerConfig"]),
        props["environmentVariables"],
    )


_TEMPLATE: dict[str, Any] = yaml.safe_load((_ROOT / "template.yml").read_text("utf-8"))


def _of_template(generation: str) -> Function:
    resources = {each["Type"]: each["Properties"] for each in _TEMPLATE["Resources"].values()}
    main, trigger = (resources[f"ALIYUN::{generation}::{kind}"] for kind in ("Function", "Trigger"))
    asynchronous = resources["ALIYUN::FC3::AsyncInvokeConfig"] if generation == "FC3" else main["AsyncConfiguration"]
    if generation == "FC3":
        hook = main["InstanceLifecycleConfig"]["Initializer"]
    else:
        hook = {"Handler": main["Initializer"], "Timeout": main["InitializationTimeout"]}
    return Function(
        *(main["Runtime"], main["Handler"], hook["Handler"], hook["Timeout"], main["Timeout"], main["MemorySize"]),
        *(asynchronous["MaxAsyncRetryAttempts"], asynchronous["MaxAsyncEventAgeInSeconds"], trigger["TriggerConfig"]),
        main["EnvironmentVariables"],
    )


_FUNCTIONS = {"s.yaml": _of_serverless_devs(), "FC3": _of_template("FC3"), "FC": _of_template("FC")}
_each = pytest.mark.parametrize("function", _FUNCTIONS.values(), ids=_FUNCTIONS.keys())


def period_s(cron: str) -> float | None:
    """How often a timer fires (seconds); None when that cannot be told, or the expression is none."""
    if every := re.fullmatch(r"@every ([1-9][0-9]*)([smh])", cron):
        return int(every[1]) * _UNITS_S[every[2]]
    return 60 if re.fullmatch(r"(CRON_TZ=\S+ )?[0-9]+( \*){5}", cron) else None


def test_the_files_describe_the_same_function() -> None:
    first, *others = _FUNCTIONS.values()
    for other in others:
        # Of the template's runtimes python3.10 is the newest; references to values differ by nature.
        assert other._replace(runtime="", values={}) == first._replace(runtime="", values={})
        assert other.values.keys() == first.values.keys()


@_each
def test_handler_and_initializer_exist_and_the_runtime_is_one_that_is_tested(function: Function) -> None:
    for name in (function.handler, function.initializer):
        module, _, wanted = name.partition(".")
        assert callable(getattr(import_module(module), wanted))
    assert function.runtime in ("python3.10", "python3.12")


@_each
def test_every_variable_is_a_setting_as_text_and_a_secret_is_given_from_outside(function: Function) -> None:
    hidden = {name for name, each in _TEMPLATE["Parameters"].items() if each.get("NoEcho") is True}
    assert {"APP_ID", "APP_SECRET", "REDIS_URL"} <= function.values.keys()
    for name, value in function.values.items():
        assert name in SETTINGS
        assert not name.startswith("FC_"), "Function Compute keeps these for itself"
        assert isinstance(value, (str, dict))
        if SETTINGS[name].secret:
            assert value["Ref"] in hidden if isinstance(value, dict) else value.startswith(f"${{env('{name}'"), name
    assert sum(len(name) + _ALLOWANCE_BYTES for name in function.values) <= _ENVIRONMENT_BYTES


@_each
def test_the_timer_fires_once_in_each_tick_and_asks_for_what_is_due(function: Function) -> None:
    assert function.timer.keys() == {"cronExpression", "enable", "payload"}
    assert period_s(function.timer["cronExpression"]) == Policy().tick_s
    assert function.timer["enable"] is True
    assert function.timer["payload"] == ""


@_each
def test_the_numbers_go_with_the_policy(function: Function) -> None:
    policy = Policy()
    assert function.timeout_s >= needed_s(policy), "time for token and ticket"
    assert function.timeout_s <= policy.work_s + policy.flight_s, "or it outlives the lease of the first target"
    assert 10 <= function.initializer_timeout_s <= function.timeout_s
    assert policy.tick_s <= function.max_age_s <= policy.grace_s
    assert function.retries <= 1, "the next tick does the same work"
    assert function.memory_mb % 64 == 0
    assert function.memory_mb >= 128


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [("@every 1m", 60), ("@every 90s", 90), ("7 * * * * *", 60), ("CRON_TZ=Asia/Shanghai 0 * * * * *", 60),
     ("* * * * *", None), ("@every 0m", None), ("@every 60", None)],
)  # fmt: skip
def test_the_period_of_a_timer_is_understood(cron: str, seconds: float | None) -> None:
    assert period_s(cron) == seconds
