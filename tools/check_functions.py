"""What s.yaml and template.yml say of the function, side by side, and whether the program agrees."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from token_refresher.domain.function_timeout import needed_s
from token_refresher.domain.policy import Policy
from token_refresher.settings.schema import SETTINGS

# Function Compute's own limit for all environment variables, and what to allow for each unknown value.
ENVIRONMENT_BYTES, ALLOWANCE_BYTES = 4096, 256
# Built for, and tested on. ROS takes no newer one than python3.10.
RUNTIMES = {"s.yaml": ("python3.10", "python3.12"), "template.yml": ("python3.10",)}
_UNITS_S = {"s": 1, "m": 60, "h": 3600}


class Function(NamedTuple):
    """One function as a file describes it; `where` is what sentences begin with, None what it does not say.

    `retries` and `max_age_s` are about asynchronous calls, `cron` and `payload` about the timer.
    `values` are the environment variables, as they stand in the file.
    """

    where: str
    runtime: Any
    handler: Any
    initializer: Any
    initializer_timeout_s: Any
    timeout_s: Any
    memory_mb: Any
    cpu: Any
    values: Mapping[str, Any]
    retries: Any
    max_age_s: Any
    cron: Any
    enabled: Any
    payload: Any


def of_props(props: Mapping[str, Any]) -> Function:
    """The function that s.yaml describes."""
    initializer = props.get("instanceLifecycleConfig", {}).get("initializer", {})
    asynchronous = props.get("asyncInvokeConfig", {})
    timers = [each for each in props.get("triggers", []) if each.get("triggerType") == "timer"]
    timer = timers[0].get("triggerConfig", {}) if timers else {}
    return Function(
        "s.yaml",
        *(props.get("runtime"), props.get("handler"), initializer.get("handler"), initializer.get("timeout")),
        *(props.get("timeout"), props.get("memorySize"), props.get("cpu")),
        props.get("environmentVariables", {}),
        *(asynchronous.get("maxAsyncRetryAttempts"), asynchronous.get("maxAsyncEventAgeInSeconds")),
        *(timer.get("cronExpression"), timer.get("enable"), timer.get("payload")),
    )


def of_template(resources: Mapping[str, Any], generation: str) -> Function:
    """The function that template.yml describes, for one generation: ALIYUN::FC3 or ALIYUN::FC."""

    def one(kind: str) -> dict[str, Any]:
        found = [each for each in resources.values() if each.get("Type") == f"{generation}::{kind}"]
        return dict(found[0].get("Properties", {})) if found else {}

    main, timer = one("Function"), one("Trigger").get("TriggerConfig", {})
    hook = main.get("InstanceLifecycleConfig", {}).get("Initializer", {})
    asynchronous = one("AsyncInvokeConfig") or main.get("AsyncConfiguration", {})
    return Function(
        f"template.yml, {generation.rpartition('::')[2]}",
        *(main.get("Runtime"), main.get("Handler")),
        *(
            main.get("Initializer", hook.get("Handler")),
            main.get("InitializationTimeout", hook.get("Timeout")),
        ),
        *(main.get("Timeout"), main.get("MemorySize"), main.get("Cpu")),
        main.get("EnvironmentVariables", {}),
        *(asynchronous.get("MaxAsyncRetryAttempts"), asynchronous.get("MaxAsyncEventAgeInSeconds")),
        *(timer.get("cronExpression"), timer.get("enable"), timer.get("payload")),
    )


def code(function: Function, sources: Path) -> Iterator[str]:
    """Handlers that do not exist, and runtimes that nothing was built for."""
    for name in (function.handler, function.initializer):
        module, _, wanted = str(name).partition(".")
        path = sources / f"{module}.py"
        tree = ast.parse(path.read_text("utf-8")) if path.is_file() else ast.Module([], [])
        defined = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
        imported = [each.name for line in tree.body if isinstance(line, ast.ImportFrom) for each in line.names]
        if wanted not in defined + imported:
            yield f"{function.where}: there is no {name} in {sources.name}"
    if function.runtime not in RUNTIMES[function.where.partition(",")[0]]:
        yield f"{function.where}: the runtime {function.runtime} is not supported"


def environment(function: Function, given: Callable[[Any], bool]) -> Iterator[str]:
    """Environment variables that are unknown, no text, too much, or a secret written out.

    `given` tells whether a value comes from whoever deploys, and is not shown afterwards.
    """
    variables = [name for name in SETTINGS if name.isupper()]
    for name, value in function.values.items():
        if name.startswith("FC_"):
            yield f"{function.where}: {name} begins with FC_, which Function Compute keeps for itself"
        elif name not in variables:
            yield f"{function.where}: {name} is no setting of the program"
        elif SETTINGS[name].secret and not given(value):
            yield f"{function.where}: {name} is secret, so it must not stand in the file, nor be shown"
        if not isinstance(value, (str, dict)):
            yield f"{function.where}: {name} is no text"
    missing = {"APP_ID", "APP_SECRET", "REDIS_URL"} - function.values.keys()
    if missing and "CONFIG_FILE" not in function.values:
        yield f"{function.where}: the program needs {', '.join(sorted(missing))} too"
    room = sum(len(name) + ALLOWANCE_BYTES for name in function.values)
    if room > ENVIRONMENT_BYTES:
        count = len(function.values)
        yield f"{function.where}: {count} environment variables may not fit into {ENVIRONMENT_BYTES} bytes"


def period_s(cron: Any) -> float | None:
    """How often a timer fires; None when that cannot be told, or the expression is none."""
    if every := re.fullmatch(r"@every ([1-9][0-9]*)([smh])", str(cron)):
        return int(every[1]) * _UNITS_S[every[2]]
    fields = str(cron).partition(" ")[2].split() if str(cron).startswith("CRON_TZ=") else str(cron).split()
    if len(fields) != 6 or not all(re.fullmatch(r"[0-9*/,\-?LW#A-Z]+", field) for field in fields):
        return None
    if step := re.fullmatch(r"(?:\*|0)/([1-9][0-9]*)", fields[1]):
        return int(step[1]) * 60
    return 60 if fields[1] == "*" else 3600


def times(function: Function) -> Iterator[str]:
    """Timer, time-outs and sizes that do not go with each other, or with the program's own numbers."""
    policy, where = Policy(), function.where
    period = period_s(function.cron)
    if period is None:
        yield f"{where}: the timer's {function.cron!r} has neither six fields nor the form @every 1m"
    elif period != policy.tick_s and "POLICY_TICK_S" not in function.values:
        yield f"{where}: the timer fires every {period:g} s, POLICY_TICK_S says {policy.tick_s:g}"
    if function.enabled is not True:
        yield f"{where}: the timer is not enabled"
    if not isinstance(function.payload, str):
        yield f"{where}: the timer's payload is no text"
    numbers = {name: getattr(function, name) for name in ("timeout_s", "initializer_timeout_s", "max_age_s")}
    absent = [name for name, value in numbers.items() if not isinstance(value, int)]
    if absent:
        yield f"{where}: {', '.join(absent)} is missing"
        return
    needed = needed_s(policy)
    if function.timeout_s < needed:
        yield f"{where}: a time-out of {function.timeout_s} s is too short for token and ticket, {needed:g} s"
    if function.timeout_s > policy.work_s + policy.flight_s:
        yield f"{where}: a time-out of {function.timeout_s} s outlives the lease of the run's first code"
    if not 10 <= function.initializer_timeout_s <= function.timeout_s:
        yield f"{where}: the initializer's time-out is not between 10 s and the function's"
    if not policy.tick_s <= function.max_age_s <= policy.grace_s:
        yield f"{where}: events of up to {function.max_age_s} s are not between one tick and the grace"
    if function.retries not in (0, 1):
        yield f"{where}: {function.retries} retries, where the next tick does the same work"


def size(function: Function) -> Iterator[str]:
    """Memory and vCPUs that Function Compute does not offer together."""
    if not isinstance(function.memory_mb, int) or function.memory_mb < 128 or function.memory_mb % 64:
        yield f"{function.where}: {function.memory_mb} MB of memory is no multiple of 64 from 128 on"
    elif function.cpu is not None:
        gigabytes = function.memory_mb / 1024
        if not gigabytes / 4 <= function.cpu <= gigabytes or round(function.cpu * 100) % 5:
            yield f"{function.where}: {function.cpu} vCPU do not go with {function.memory_mb} MB"


def differences(functions: list[Function]) -> Iterator[str]:
    """Numbers and variables in which the files differ; runtime and vCPU may."""
    first, *others = functions
    for other in others:
        for name in sorted(set(Function._fields) - {"where", "runtime", "cpu", "values"}):
            here, there = getattr(other, name), getattr(first, name)
            if here != there:
                yield f"{other.where}: {name} is {here!r}, in {first.where} {there!r}"
        odd = ", ".join(sorted(first.values.keys() ^ other.values.keys()))
        if odd:
            yield f"{other.where}: other environment variables than {first.where}: {odd}"
