"""Function Compute on a real socket: verifies signatures, runs a handler, and answers as the documents say.

Written from the reference, not from the clients: the 2016-08-15 interface (a service's function, signature "FC") and
the 2023-03-30 one (a function, signature "ACS3-HMAC-SHA256").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

Function = Callable[[bytes, Any], Any]

_FC2_PATH = re.compile(r"/2016-08-15/services/([^/]+)/functions/([^/]+?)(?:/invocations)?")
_FC3_PATH = re.compile(r"/2023-03-30/functions/([^/]+?)(?:/invocations)?")
# How long the platform takes a signature for fresh.
_FRESH_S = 900
_LONGEST_LOG = 4096


class Answer(NamedTuple):
    """An answer as it goes over the wire. `length` (bytes), where given, is announced instead of the body's own."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    length: int | None = None


class Seen(NamedTuple):
    """A request as it came; `headers` by names in small letters."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class FcServer:
    """One account's Function Compute, from construction until `stop`.

    `keys` maps access key ids to their secrets, `tokens` those of temporary keys to the token that goes with them.
    `time_out_s` is what every function's configuration says. `functions` maps ("service" or "service.qualifier",
    "function"), and ("", "function") for FC 3.0, to handlers.
    What stands in `next` (an Answer, or "silence") is answered instead, once each, after the signature was verified.
    """

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.time_out_s: object = 70
        self.functions: dict[tuple[str, str], Function] = {}
        self.next: list[Answer | str] = []
        self.seen: list[Seen] = []
        self._stopping = threading.Event()
        self._runs: list[threading.Thread] = []
        self._http = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def wait_for_runs(self) -> None:
        """Wait until everything that was accepted asynchronously has run."""
        for run in list(self._runs):
            run.join(60)
            assert not run.is_alive(), "an asynchronous run does not end"

    def stop(self) -> None:
        self._stopping.set()
        self.wait_for_runs()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> FcServer:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    # -- one request ----------------------------------------------------------------------------------------------

    def answer(self, seen: Seen) -> Answer | None:
        """The answer to a request; None for none at all."""
        self.seen.append(seen)
        request_id = f"request-{len(self.seen)}"
        answer = self._answer(seen, request_id)
        return answer and answer._replace(headers={"X-Fc-Request-Id": request_id, **answer.headers})

    def _answer(self, seen: Seen, request_id: str) -> Answer | None:
        older, newer = _FC2_PATH.fullmatch(seen.path), _FC3_PATH.fullmatch(seen.path)
        asked = "GET" if not seen.path.endswith("/invocations") else "POST"
        if seen.method != asked or not (older or newer):
            return _error(seen, 400, "PathNotSupported")
        wrong = self._wrong_fc(seen) if older else self._wrong_acs3(seen)
        if wrong:
            return _error(seen, 403, wrong, f"{wrong}: {seen.headers.get('authorization')} does not match")
        if self.next:
            scripted = self.next.pop(0)
            if isinstance(scripted, Answer):
                return scripted
            self._stopping.wait(60)
            return None
        key = (unquote(older[1]), unquote(older[2])) if older else ("", unquote(newer[1]) if newer else "")
        function = self.functions.get(key)
        if function is None:
            return _error(seen, 404, "ServiceNotFound" if older else "FunctionNotFound")
        if seen.method == "GET":
            told = {"functionName": key[1], "timeout": self.time_out_s}
            return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        if seen.headers.get("x-fc-invocation-type") == "Async":
            run = threading.Thread(target=_run, args=(function, seen.body, request_id))
            self._runs.append(run)
            run.start()
            return Answer(202)
        body, headers, log = _run(function, seen.body, request_id)
        if seen.headers.get("x-fc-log-type") == "Tail":
            headers["X-Fc-Log-Result"] = base64.b64encode(log.encode()[-_LONGEST_LOG:]).decode()
        return Answer(200, body, headers)

    # -- signatures -----------------------------------------------------------------------------------------------

    def _wrong_fc(self, seen: Seen) -> str:
        """The name of what is wrong with a signature of the 2016-08-15 interface; "" when it is right."""
        match = re.fullmatch(r"FC ([^:]+):([A-Za-z0-9+/=]+)", seen.headers.get("authorization", ""))
        if not match:
            return "MissingRequiredHeader"
        if match[1] not in self.keys:
            return "InvalidAccessKeyID"
        own = sorted((name, value) for name, value in seen.headers.items() if name.startswith("x-fc-"))
        lines = [
            seen.method,
            *(seen.headers.get(name, "") for name in ("content-md5", "content-type", "date")),
        ]
        lines += [f"{name}:{value}" for name, value in own]
        text = "\n".join([*lines, unquote(seen.path)])
        digest = hmac.new(self.keys[match[1]].encode(), text.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(digest).decode(), match[2]):
            return "SignatureNotMatch"
        if abs(time.time() - parsedate_to_datetime(seen.headers["date"]).timestamp()) > _FRESH_S:
            return "RequestTimeTooSkewed"
        return self._wrong_token(match[1], seen.headers.get("x-fc-security-token"))

    def _wrong_acs3(self, seen: Seen) -> str:
        """The same for a signature of version 3."""
        form = r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})"
        match = re.fullmatch(form, seen.headers.get("authorization", ""))
        if not match:
            return "MissingRequiredHeader"
        if match[1] not in self.keys:
            return "InvalidAccessKeyID"
        signed = match[2].split(";")
        digest = hashlib.sha256(seen.body).hexdigest()
        if not {"host", "x-acs-date", "x-acs-content-sha256"} <= set(signed) or signed != sorted(signed):
            return "SignatureNotMatch"
        query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(seen.query.items()))
        headers = "".join(f"{name}:{seen.headers.get(name, '').strip()}\n" for name in signed)
        request = "\n".join([seen.method, seen.path, query, headers, match[2], digest])
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(request.encode()).hexdigest()
        signature = hmac.new(self.keys[match[1]].encode(), text.encode(), hashlib.sha256).hexdigest()
        right = seen.headers.get("x-acs-content-sha256") == digest and hmac.compare_digest(signature, match[3])
        return self._wrong_token(match[1], seen.headers.get("x-acs-security-token")) if right else "SignatureNotMatch"

    def _wrong_token(self, key_id: str, token: str | None) -> str:
        return "" if self.tokens.get(key_id) == token else "InvalidSecurityToken"


def _run(function: Function, event: bytes, request_id: str) -> tuple[bytes, dict[str, str], str]:
    """Run a handler as the runtime does: body, headers, and what it logged."""
    recorder = _Recorder(threading.get_ident())
    logging.getLogger().addHandler(recorder)
    try:
        result = function(event, SimpleNamespace(request_id=request_id, function=SimpleNamespace(timeout=60)))
    except Exception as error:
        stack = traceback.format_tb(error.__traceback__)
        told = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": stack}
        return json.dumps(told).encode(), {"X-Fc-Error-Type": "UnhandledInvocationError"}, recorder.text
    finally:
        logging.getLogger().removeHandler(recorder)
    if not isinstance(result, (str, bytes)):
        result = json.dumps(result)
    return result if isinstance(result, bytes) else result.encode(), {}, recorder.text


class _Recorder(logging.Handler):
    """What one thread's program logs."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and record.name.startswith("token_refresher"):
            self.text += f"{record.levelname} {record.getMessage()}\n"


def _error(seen: Seen, status: int, name: str, message: str = "") -> Answer:
    """An error as the interface in question spells it."""
    newer = seen.path.startswith("/2023-03-30/")
    members = ("Code", "Message") if newer else ("ErrorCode", "ErrorMessage")
    told = dict(zip(members, (name, message or f"{name} in {seen.path}"), strict=True))
    if newer:
        told["RequestId"] = "request-in-body"
    return Answer(status, json.dumps(told).encode(), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none of ours."""


def _handler_for(server: FcServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # Through a proxy the whole address is asked for.
            where = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, where.path, dict(parse_qsl(where.query)), headers, body)
            answer = server.answer(seen)
            if answer is None:
                return
            self.send_response(answer.status)
            length = len(answer.body) if answer.length is None else answer.length
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
            if answer.length is not None:
                self.connection.shutdown(socket.SHUT_WR)

        do_GET = do_POST

    return Handler
