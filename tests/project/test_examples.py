"""What stands in examples/, run as it stands there, against a real Redis."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.planted import plant
from support.processes import Child
from support.redis_server import RedisServer, find_binary
from token_refresher.domain.model import Kind, Target
from token_refresher.store.keys import WIRE_NAME, keys_of

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
READERS = EXAMPLES / "readers"
APP = "app0000"
CODES = {Kind.ACCESS_TOKEN: "1f" * 32, Kind.JS_TICKET: "a0" * 64}
# Compilers and package managers take their time on a busy machine (seconds).
WAIT_S = 90.0


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Both credentials, in a Redis with a password."""
    server = start_redis(password=plant("redis-password", extra="/:@"))
    now = int(server.now())
    for kind, code in CODES.items():
        value = json.dumps({WIRE_NAME[kind]: code, "expires_in": now + 7200, "issued_at": now, "fence": 1})
        server.client().set(keys_of(Target(APP, kind)).value, value, ex=7200)
    return server


# -- readers in every language --------------------------------------------------------------------


def run(command: list[str], server: RedisServer, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"REDIS_URL": server.url} | environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=WAIT_S,
    )


def assert_it_reads(command: list[str], server: RedisServer, cwd: Path, **environ: str) -> None:
    """It prints both credentials; for an application of which nothing is stored it fails and names the key."""
    done = run([*command, APP], server, cwd, **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(CODES.values())
    done = run([*command, "nobody"], server, cwd, **environ)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "type/server_access_token_info/app_id/nobody" in done.stderr


def needed(program: str) -> str:
    """The path of a program. Skips the test, and says so, where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program} on this machine: this example was not run")
    return found


def test_the_reader_in_python_prints_both_codes(server: RedisServer) -> None:
    command = [sys.executable, "-W", "error", "read.py"]
    assert_it_reads(command, server, READERS / "python", PYTHONPATH=str(PROJECT / "src"))


def test_the_reader_for_redis_cli_prints_both_values(server: RedisServer) -> None:
    command, cwd = ["sh", "read.sh"], READERS / "redis-cli"
    environ = {
        "REDIS_CLI": find_binary("redis-cli"),
        "REDIS_PORT": str(server.port),
        "REDISCLI_AUTH": server.password,
    }
    done = run([*command, APP], server, cwd, **environ)
    assert done.returncode == 0, done.stderr
    values = [json.loads(line) for line in done.stdout.splitlines()]
    assert [value[WIRE_NAME[kind]] for kind, value in zip(CODES, values, strict=True)] == list(CODES.values())
    done = run([*command, "nobody"], server, cwd, **environ)
    assert done.returncode != 0
    assert "type/server_access_token_info/app_id/nobody" in done.stderr


def test_the_reader_in_node_prints_both_codes(server: RedisServer, tmp_path: Path) -> None:
    node, npm = needed("node"), needed("npm")
    shutil.copytree(READERS / "node", tmp_path, dirs_exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline"]
    try:
        installed = run([npm, "install", *quiet], server, tmp_path)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the package redis in time: this example was not run")
    if installed.returncode:
        pytest.skip("npm cannot install the package redis here: this example was not run")
    assert_it_reads([node, "read.js"], server, tmp_path)


def test_the_reader_in_php_prints_both_codes(server: RedisServer) -> None:
    php = needed("php")
    extensions = subprocess.run([php, "-m"], capture_output=True, text=True, timeout=WAIT_S).stdout.split()
    if "redis" not in extensions:
        pytest.skip("PHP has no extension redis here (apt install php-redis): this example was not run")
    assert_it_reads([php, "read.php"], server, READERS / "php")


def test_the_reader_in_java_prints_both_codes(server: RedisServer, tmp_path: Path) -> None:
    java, javac = needed("java"), needed("javac")
    subprocess.run([javac, "-d", str(tmp_path), str(READERS / "java" / "Read.java")], check=True, timeout=WAIT_S)
    assert_it_reads([java, "-cp", str(tmp_path), "Read"], server, tmp_path)


def test_the_reader_in_go_prints_both_codes(server: RedisServer, tmp_path: Path) -> None:
    go = needed("go")
    shutil.copytree(READERS / "go", tmp_path, dirs_exist_ok=True)
    program = str(tmp_path / "read")
    try:
        fetched = run([go, "mod", "tidy"], server, tmp_path)
    except subprocess.TimeoutExpired:
        pytest.skip("go did not fetch the package go-redis in time: this example was not run")
    if fetched.returncode:
        pytest.skip("go cannot fetch the package go-redis here: this example was not run")
    subprocess.run([go, "build", "-o", program, "read.go"], cwd=tmp_path, check=True, timeout=WAIT_S)
    assert_it_reads([program], server, tmp_path)


def test_every_reader_is_run_by_a_test() -> None:
    assert {each.name for each in READERS.iterdir() if each.is_dir()} == {
        "go",
        "java",
        "node",
        "php",
        "python",
        "redis-cli",
    }


# -- the web service ------------------------------------------------------------------------------

_SERVICE = """
import runpy, sys
from werkzeug.serving import make_server
from support.child import say

app = runpy.run_path(sys.argv[1])
server = make_server("127.0.0.1", 0, app["app"], threaded=True)
say("port:%d" % server.port)
server.serve_forever()
"""


@pytest.fixture
def service(server: RedisServer) -> Iterator[str]:
    """The base address of the running service."""
    pytest.importorskip("flask", reason="flask is not installed (pip install flask): this example was not run")
    with serving(server) as base:
        yield base


@contextlib.contextmanager
def serving(server: RedisServer, **environ: str) -> Iterator[str]:
    """The service with these variables besides."""
    app = EXAMPLES / "page_signature" / "app.py"
    # Flask's own dependencies may be deprecated here and there.
    environ |= {"APP_ID": APP, "REDIS_URL": server.url, "PYTHONWARNINGS": "default"}
    with Child(_SERVICE, environ, [str(app)]) as child:
        yield "http://127.0.0.1:" + child.wait_for("port:").removeprefix("port:")


def get(url: str) -> tuple[int, Any, str]:
    """Status, headers and body of an answer, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:  # noqa: S310 - our own address
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def test_the_service_signs_its_own_page(service: str) -> None:
    page = f"{service}/a/?x=1#top"
    status, headers, body = get(f"{service}/signature?url={quote(page, safe='')}")
    config = json.loads(body)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert set(config) == {"app_id", "timestamp", "nonce_str", "signature", "url"}
    assert (config["app_id"], config["url"]) == (APP, page)
    signed = (
        f"js_ticket={CODES[Kind.JS_TICKET]}&nonce_str={config['nonce_str']}"
        f"&timestamp={config['timestamp']}&url={service}/a"
    )
    assert config["signature"] == hashlib.sha1(signed.encode()).hexdigest()  # noqa: S324 - prescribed


@pytest.mark.parametrize("url", ["", "https://elsewhere.example/", "https://elsewhere.example/?http://127.0.0.1/"])
def test_the_service_signs_nobody_elses_page(service: str, url: str) -> None:
    status, _, body = get(f"{service}/signature?url={quote(url, safe='')}")
    assert status == 400
    assert "its own pages only" in body


def test_behind_a_proxy_that_ends_tls_the_service_names_the_setting_that_it_needs(
    service: str, server: RedisServer
) -> None:
    """The browser shows https://, the service is asked by http:// and would refuse every page."""
    seen = service.replace("http://", "https://") + "/pay?id=1"
    status, _, body = get(f"{service}/signature?url={quote(seen, safe='')}")
    assert status == 400
    assert f"which begin with {service}/: set PAGE_ORIGIN to what the browser shows" in json.loads(body)["error"]
    for origin in ("https://shop.example", "https://shop.example/"):
        with serving(server, PAGE_ORIGIN=origin) as base:
            status, _, body = get(f"{base}/signature?url={quote('https://shop.example/pay?id=1', safe='')}")
            assert (status, json.loads(body)["url"]) == (200, "https://shop.example/pay?id=1")
            status, _, body = get(f"{base}/signature?url={quote(base + '/pay', safe='')}")
            assert status == 400
            assert "which begin with https://shop.example/: set PAGE_ORIGIN" in json.loads(body)["error"]


def test_the_service_says_what_is_wrong_with_an_address(service: str) -> None:
    status, _, body = get(f"{service}/signature?url={quote(service + '/猿', safe='')}")
    assert status == 400
    assert "location.href" in body


def test_without_a_ticket_the_service_asks_to_come_back(service: str, server: RedisServer) -> None:
    server.client().delete(keys_of(Target(APP, Kind.JS_TICKET)).value)
    status, headers, _ = get(f"{service}/signature?url={quote(service + '/', safe='')}")
    assert (status, headers["Retry-After"]) == (503, "60")


# A browser, and of the platform what its documentation describes of the global `yzb`: `ready` calls back, `core.config`
# takes {data, next, error} and calls one of the two. Prints what it was given, and what the page then shows.
_BROWSER = """
const vm = require("node:vm");
const seen = [];
const state = { textContent: "" };
const [service, script, refusal] = process.argv.slice(1);
let ready = false;
const yzb = {
  ready: (callback) => setImmediate(() => { ready = true; callback(); }),
  core: {
    config: (options) => {
      if (!ready) throw new Error("config before ready");
      seen.push({ given: Object.keys(options), data: options.data });
      if (refusal) options.error(JSON.parse(refusal)); else options.next({});
    },
  },
};
const page = {
  yzb,
  location: { href: service + "/?x=1#top" },
  fetch: (path) => fetch(service + path),
  document: { getElementById: () => state },
  encodeURIComponent, Error, JSON, String,
};
vm.runInNewContext(script, page);
process.on("exit", () => console.log(JSON.stringify({ seen, state: state.textContent })));
"""


def browse(service: str, refusal: str = "") -> Any:
    """What the page gave to the platform, and what it shows."""
    status, _, html = get(service + "/")
    assert status == 200
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    done = subprocess.run(
        [needed("node"), "-e", _BROWSER, service, script, refusal], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_loads_the_platforms_script_from_its_documented_address(service: str) -> None:
    _, _, html = get(service + "/")
    address = "https://static.yuanzhibang.com/app/open/js/bridge/js-yzb-bridge-v0.0.41.js"
    assert f'<script src="{address}"></script>' in html


def test_the_page_calls_core_config_with_the_signature_of_its_own_address(service: str) -> None:
    shown = browse(service)
    (call,) = shown["seen"]
    assert call["given"] == ["data", "next", "error"]
    assert set(call["data"]) == {"app_id", "timestamp", "nonce_str", "signature", "url", "js_api_list"}
    assert (call["data"]["url"], call["data"]["js_api_list"]) == (f"{service}/?x=1#top", ["core.requestAuthCode"])
    assert 4 <= len(call["data"]["nonce_str"]) <= 128
    assert shown["state"] == "the platform accepted the signature"


def test_the_page_shows_what_the_platform_says_against_its_signature(service: str) -> None:
    shown = browse(service, '{"code": "4102"}')
    assert shown["state"] == 'the platform refused the signature: {"code":"4102"}'


def test_the_page_shows_why_there_is_no_signature(service: str, server: RedisServer) -> None:
    server.client().delete(keys_of(Target(APP, Kind.JS_TICKET)).value)
    shown = browse(service)
    assert (shown["seen"], shown["state"]) == ([], "Error: no ticket is stored at the moment")


def test_script_and_functions_of_the_page_can_be_chosen(server: RedisServer) -> None:
    environ = {"BRIDGE_JS_URL": "https://js.example/b.js", "JS_API_LIST": "core.requestAuthCode,network.request"}
    with serving(server, **environ) as base:
        assert '<script src="https://js.example/b.js"></script>' in get(base + "/")[2]
        (call,) = browse(base)["seen"]
        assert call["data"]["js_api_list"] == ["core.requestAuthCode", "network.request"]
