"""The inside of an `fc_runtime.Instance`: what Function Compute's Python runtime does around a user's code.

It is run as a program, by an interpreter that sees the standard library alone, so it imports nothing of ours.
Arguments: the directory of the code, what the function is (JSON), and two file descriptors, to read events
from and to write answers to. A line is one event or one answer. Everything printed is the function's log.
"""

from __future__ import annotations

import base64
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any


def context(about: dict[str, Any], request_id: str) -> SimpleNamespace:
    """What a handler is given as its second argument; it has what this runtime has, and nothing else."""
    function = {name: about[name] for name in ("name", "handler", "memory", "timeout")}
    given = SimpleNamespace(
        request_id=request_id,
        function=SimpleNamespace(**function),
        region=about["region"],
        account_id=about["account_id"],
    )
    if about["runtime"] == "python3.12":
        given.logger, given.log_project, given.log_store = logging.getLogger(), "project", "logstore"
        return given
    given.credentials = SimpleNamespace(**about["credentials"])
    service = {"name": "", "log_project": "project", "log_store": "logstore", "qualifier": "LATEST"}
    given.service = SimpleNamespace(**service, version_id="")
    given.tracing = SimpleNamespace(span_context="", jaeger_endpoint="", span_baggages={})
    return given


def serialised(result: Any) -> bytes:
    """What the caller gets for a handler's result. Raises what json.dumps raises."""
    if isinstance(result, bytes):
        return result
    return (result if isinstance(result, str) else json.dumps(result)).encode()


def failed(error: Exception) -> bytes:
    """What the caller gets for an exception, which goes into the log as well."""
    traceback.print_exc()
    told = {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": [line.rstrip() for line in traceback.format_tb(error.__traceback__)],
    }
    return json.dumps(told).encode()


def attempt(step: str, request_id: str, work: Callable[[], Any]) -> tuple[bool, bytes]:
    """Do something of the user's, with the runtime's own lines around it: did it go well, and the answer.

    SystemExit is no Exception: it ends the process, as it does there.
    """
    sys.stdout.write(f"FC {step} Start RequestId: {request_id}\n")
    try:
        return True, serialised(work())
    except Exception as error:
        return False, failed(error)
    finally:
        sys.stdout.write(f"FC {step} End RequestId: {request_id}\n")


def main() -> None:
    """Import, initialise once, then one event after the other until there are no more."""
    code, about = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, code)
    os.chdir(code)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="[%(levelname)s] %(message)s")
    loaded: dict[str, Callable[..., Any]] = {}

    def load(request_id: str) -> None:
        for role in ("handler", "initializer"):
            if about[role]:
                module, _, name = about[role].rpartition(".")
                loaded[role] = getattr(importlib.import_module(module), name)
        if "initializer" in loaded:
            loaded["initializer"](context(about, request_id))

    with os.fdopen(int(sys.argv[3])) as events, os.fdopen(int(sys.argv[4]), "w") as answers:
        for line in events:
            asked = json.loads(line)
            request_id, event = asked["request_id"], base64.b64decode(asked["event"])
            well, body, step = True, b"", "Initialize"
            if not loaded:
                well, body = attempt(step, request_id, partial(load, request_id))
            if well:
                step = "Invoke"
                given = context(about, request_id)
                well, body = attempt(step, request_id, partial(loaded["handler"], event, given))
            told = {"well": well, "step": step, "body": base64.b64encode(body).decode()}
            answers.write(json.dumps(told) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
