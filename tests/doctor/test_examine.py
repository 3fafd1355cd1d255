"""What the doctor finds of everything that a new user gets wrong, and that examining harms nothing."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.fc_server import FcServer
from support.flow import PUBLIC_KEY, Deployment
from support.planted import plant
from support.redis_server import RedisServer, closed_port
from support.tables import each_line
from support.tcp_proxy import TcpProxy
from support.waiting import wait_until
from support.world import World
from token_refresher.cli.doctor_view import show
from token_refresher.cli.exit_codes import of_red_groups
from token_refresher.cli.output import Output
from token_refresher.doctor.checks import redis_server as doctor_redis
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import CHECKS, Finding, Severity, gathered, red_groups
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind, Target
from token_refresher.store import redis_store as store
from token_refresher.store.keys import keys_of

SCRIPTS = sorted((Path(store.__file__).parent / "scripts").glob("*.lua"))
APP = "app0000"
TOKEN, TICKET = Target(APP, Kind.ACCESS_TOKEN), Target(APP, Kind.JS_TICKET)
VALUE, LEASE, _ = keys_of(TICKET)
# Other tests may stop the time; these only need that a run lies a moment back, so that credentials are judged.
SINCE_THE_RUN_S = 30


class Patient:
    """A World in which one run took place, what the doctor is told of it, and means to spoil it."""

    def __init__(self, world: World, stack: ExitStack, folder: Path) -> None:
        self.world, self.stack, self.folder = world, stack, folder
        self.deployment = Deployment(world)
        self.environ = dict(self.deployment.environ)
        self.wall_behind_s = 0.0
        self.admin: Any = world.redis.client()

    def refreshed(self) -> None:
        self.deployment.run()
        self.world.advance(SINCE_THE_RUN_S)

    def examined(self, **options: Any) -> list[Finding]:
        wall = options.pop("wall", lambda: self.world.now() - self.wall_behind_s)
        return examine(self.environ, wall=wall, clock=self.deployment.clock, **options)

    def holdings(self) -> dict[bytes, bytes]:
        """Every key with what is in it, byte for byte."""
        return {key: self.admin.dump(key) for key in self.admin.scan_iter()}

    def user(self, *rules: str) -> None:
        """Let the program log in as a user with all rights but these."""
        secret = plant("redis-user")
        everything = ("reset", "on", f">{secret}", "~*", "+@all")
        self.admin.execute_command("ACL", "SETUSER", "limited", *everything, *rules)
        self.environ["REDIS_URL"] = f"redis://limited:{quote(secret)}@127.0.0.1:{self.world.redis.port}/0"

    def serve(self, answer: bytes) -> int:
        """A server that gives every request the same answer; its port."""

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(answer)

        server = self.stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.stack.callback(server.shutdown)
        port: int = server.server_address[1]
        return port

    def now_ms(self) -> int:
        return int(self.world.now() * 1000)


@pytest.fixture
def patient(start_world: Callable[..., World], tmp_path: Path) -> Iterator[Patient]:
    with ExitStack() as stack:
        one = Patient(start_world({"appendonly": "yes"}), stack, tmp_path)
        one.refreshed()
        yield one


def of(findings: list[Finding], name: str) -> list[Finding]:
    return [each for each in findings if each.name == name]


# -- the planted misconfigurations ------------------------------------------------------------------------------------


def database(number: int) -> Callable[[Patient], None]:
    """Write another database into the address."""

    def change(patient: Patient) -> None:
        patient.environ["REDIS_URL"] = patient.environ["REDIS_URL"].removesuffix("/0") + f"/{number}"

    return change


@dataclass(frozen=True)
class Case:
    """What is wrong (`plant` does it), which check finds it how severe, and what its fix has to name."""

    sentence: str
    plant: Callable[[Patient], object]
    check: str
    severity: Severity
    fix: str
    exit_code: int = -1
    marks: tuple[Any, ...] = field(default=())


def environ(**values: str | Callable[[Patient], str]) -> Callable[[Patient], None]:
    """Set variables; a function is given the patient."""

    def change(patient: Patient) -> None:
        for name, value in values.items():
            patient.environ[name] = value if isinstance(value, str) else value(patient)

    return change


def redis_url(credentials: str = "{password}", host: str = "127.0.0.1", port: int = 0, scheme: str = "redis") -> Any:
    def url(patient: Patient) -> str:
        server = patient.world.redis
        login = credentials.replace("{password}", server.password)
        database = "" if scheme.endswith("cluster") else "/0"
        return f"{scheme}://:{login}@{host}:{port or server.port}{database}"

    return environ(REDIS_URL=url)


def user(*rules: str) -> Callable[[Patient], None]:
    return lambda patient: patient.user(*rules)


def config(**values: object) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        for name, value in values.items():
            patient.admin.config_set(name.replace("_", "-"), value)

    return change


def lease(**fields: Callable[[int], object]) -> Callable[[Patient], None]:
    """Change the ticket's lease; each value is made from the time (unix milliseconds)."""

    def change(patient: Patient) -> None:
        now_ms = patient.now_ms()
        patient.admin.hset(LEASE, mapping={name: str(value(now_ms)) for name, value in fields.items()})

    return change


def stored(**members: object) -> Callable[[Patient], None]:
    """Change members of the stored ticket's value, as somebody else would: None takes one away."""

    def change(patient: Patient) -> None:
        value = json.loads(patient.admin.get(VALUE)) | members
        kept = {name: member for name, member in value.items() if member is not None}
        patient.admin.set(VALUE, json.dumps(kept), ex=7000)

    return change


def served(patient: Patient, answer: Callable[[socket.socket], object]) -> None:
    """Put a server that treats each connection like this in the place of Redis, by the scheme for TLS."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                answer(self.request)

    server = patient.stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    patient.stack.callback(server.shutdown)
    redis_url(port=server.server_address[1], scheme="rediss")(patient)


def unknown_ca(patient: Patient) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    served(patient, lambda peer: context.wrap_socket(peer, server_side=True).close())


def answers_in_plain(patient: Patient) -> None:
    def answer(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.recv(1000)

    served(patient, answer)


def as_cluster(patient: Patient) -> None:
    url = patient.environ["REDIS_URL"]
    patient.environ["REDIS_URL"] = url.replace("redis://", "redis+cluster://").removesuffix("/0")


def nearly_full(patient: Patient) -> None:
    patient.admin.config_set("maxmemory", int(patient.admin.info("memory")["used_memory"] * 1.03))


def another_type(patient: Patient) -> None:
    patient.admin.delete(VALUE)
    patient.admin.rpush(VALUE, "x")
    patient.admin.expire(VALUE, 7000)


def revoked(patient: Patient) -> None:
    newest = patient.world.simulator.newest(APP, "js_ticket")
    assert newest is not None
    patient.world.simulator.revoke(APP, "js_ticket", newest.code)


def clock_of_redis_off(patient: Patient) -> None:
    """Redis alone goes ahead; a run then stores credentials by that clock."""
    patient.world.advance(600)
    patient.world.platform_ahead_s = -600
    patient.wall_behind_s = 600
    patient.deployment.run(Command(force=True))


def speak_tls(patient: Patient) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    simulator = Simulator({APP: patient.world.secrets[APP]}, tls=context)
    patient.environ["PLATFORM_BASE_URL"] = patient.stack.enter_context(simulator).url


def behind_proxy(answer: bytes) -> Callable[[Patient], None]:
    secret = plant("proxy-password")
    return environ(
        PLATFORM_BASE_URL="https://platform.invalid",
        PLATFORM_HTTPS_PROXY=lambda patient: f"http://user:{secret}@127.0.0.1:{patient.serve(answer)}",
    )


class OlderServer(TcpProxy):
    """Redis as it is, but for the version that it tells."""

    def _downwards(self, link: Any) -> None:
        while piece := link.server.recv(1 << 20):
            link.client.sendall(piece.replace(b"redis_version:6.2.14", b"redis_version:4.0.14"))


def old_server(patient: Patient) -> None:
    proxy = patient.stack.enter_context(OlderServer(patient.world.redis.port))
    patient.environ["REDIS_URL"] = proxy.url(patient.world.redis.password)


def configured(content: str) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        path = patient.folder / "config.yaml"
        path.write_text(content)
        for name in ("APP_ID", "APP_SECRET"):
            patient.environ.pop(name)
        patient.environ["CONFIG_FILE"] = str(path)

    return change


def without(*names: str) -> Callable[[Patient], object]:
    return lambda patient: [patient.environ.pop(name) for name in names]


def all_of(*plants: Callable[[Patient], object]) -> Callable[[Patient], object]:
    return lambda patient: [plant(patient) for plant in plants]


def faulty(fault: Fault) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        for path in (CHECK_PATH, TOKEN_PATH):
            patient.world.simulator.script(path, fault, times=None)

    return change


R, Y = Severity.RED, Severity.YELLOW
LIMITS = environ(POLICY_REDIS_TIMEOUT_S="0.2")
CASES = (
    # settings
    Case("CONFIG_FILE names no file", all_of(without("APP_ID", "APP_SECRET"), environ(CONFIG_FILE="/nonexistent.yaml")),
         "settings", R, "path in CONFIG_FILE", 3),
    Case("the file is broken YAML", configured("app_info: [\n"), "settings", R, "correct that file at the place", 3),
    Case("both APP_ID and CONFIG_FILE are given", environ(CONFIG_FILE="/nonexistent.yaml"), "settings", R, "unset", 3),
    Case("the secret is missing", without("APP_SECRET"), "settings", R, "set what is missing", 3),
    Case("a policy is misspelt", environ(POLICY_MARGINS_S="1800"), "settings", Y, "no effect", 0),
    Case("policies do not fit together", environ(POLICY_TICK_S="1200"), "settings", R, "inequality", 3),
    Case("the CA bundle does not exist", environ(PLATFORM_CA_BUNDLE="/nonexistent.pem"), "settings", R, "correct", 3),
    # Redis
    Case("Redis's host does not exist", redis_url(host="redis.invalid"), "redis reachable", R, "host and port in", 4),
    Case("Redis's port is wrong", redis_url(port=closed_port()), "redis reachable", R, "port in REDIS_URL", 4),
    Case("Redis's password is wrong", redis_url(plant("wrong-password")), "redis reachable", R, "password", 4),
    Case("Redis's password is missing", redis_url(""), "redis reachable", R, "password", 4),
    Case("Redis is no cluster", redis_url(scheme="redis+cluster"), "redis reachable", R, "redis+cluster://", 4),
    Case("Redis does not speak TLS", all_of(LIMITS, redis_url(scheme="rediss")), "redis reachable", R, "rediss://", 4),
    Case("Redis's certificate is signed by a CA that nobody knows", unknown_ca,
         "redis reachable", R, "ssl_ca_certs", 4),
    Case("something else that does not speak TLS answers", all_of(LIMITS, answers_in_plain),
         "redis reachable", R, "rediss://", 4),
    Case("the user may not ask for the cluster's slots", all_of(user("-cluster"), as_cluster),
         "redis reachable", R, "+cluster|slots", 4),
    Case("Redis stands still", all_of(LIMITS, lambda p: p.world.redis.pause()),
         "redis reachable", R, "Redis is slow", 4),
    Case("Redis is another machine's in plain", redis_url(host="redis.invalid"), "redis encryption", Y, "rediss://", 4),
    Case("the user may not EVAL", user("-eval"), "redis rights", R, "+eval", 4),
    Case("the user has no right to the keys", user("resetkeys", "~other:*"), "redis rights", R, f"~{VALUE}", 4),
    Case("the user may not HSET", user("-hset"), "redis rights", R, "+hset", 4),
    Case("the user may not GET, which looks like a strange value", user("-get"), "redis rights", R, "+get", 4),
    Case("the user may not SELECT the database", all_of(user("-select"), database(3)), "redis rights", R,
         "+select", 4),
    Case("Redis takes no writes for want of replicas", config(min_replicas_to_write="1"), "redis rights", R,
         "replicas", 4),
    Case("Redis is a replica", lambda p: p.admin.execute_command("REPLICAOF", "127.0.0.1", "1"),
         "redis role", R, "primary", 4),
    Case("a full Redis drops any key", config(maxmemory="1gb", maxmemory_policy="allkeys-lru"),
         "redis eviction", R, "noeviction", 4),
    Case("a full Redis drops keys with a TTL", config(maxmemory="1gb", maxmemory_policy="volatile-lru"),
         "redis eviction", Y, "noeviction", 0),
    Case("Redis is nearly full", nearly_full, "redis memory", R, "maxmemory", 4),
    Case("Redis is too old", old_server, "redis version", R, "upgrade", 4),
    Case("Redis keeps nothing on disk", config(appendonly="no", save=""), "redis persistence", Y, "appendonly yes", 0),
    Case("Redis's clock is off by ten minutes", clock_of_redis_off, "redis clock", R, "NTP", 4),
    # the platform
    Case("the platform's clock is off", lambda p: setattr(p.world, "platform_ahead_s", 600.0),
         "platform clock", R, "NTP", 5),
    Case("the platform's clock is off by twenty seconds", lambda p: setattr(p.world, "platform_ahead_s", 20.0),
         "platform clock", Y, "NTP", 0),
    Case("the secret is wrong", environ(APP_SECRET=plant("wrong-secret")), "platform secret", R, "APP_SECRET", 5),
    Case("this address is not white-listed", lambda p: p.world.simulator.white_list(APP, ["203.0.113.9"]),
         "platform white list", R, "IP white list", 5),
    Case("nobody listens at the platform's address", environ(PLATFORM_BASE_URL=f"http://127.0.0.1:{closed_port()}"),
         "platform reachable", R, "network", 5),
    Case("the platform's name does not exist", environ(PLATFORM_BASE_URL="https://platform.invalid"),
         "platform reachable", R, "PLATFORM_BASE_URL", 5),
    Case("something else answers there", faulty(Fault.html()), "platform reachable", R, "PLATFORM_BASE_URL", 5),
    Case("a firewall answers in its place", faulty(Fault.status(403, b"<html>no</html>")), "platform reachable", R,
         "or the proxy", 5),
    Case("the platform's address is not quite right", faulty(Fault.status(404)), "platform reachable", R,
         "PLATFORM_BASE_URL", 5),
    Case("the platform does not answer",
         all_of(environ(POLICY_READ_TIMEOUT_S="0.2", POLICY_REQUEST_TOTAL_S="0.5"), faulty(Fault.no_answer(False))),
         "platform reachable", R, "did not answer in time", 5),
    Case("the proxy wants another password", behind_proxy(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
         "platform reachable", R, "user and password in PLATFORM_HTTPS_PROXY", 5),
    Case("the proxy's address is wrong",
         environ(PLATFORM_BASE_URL="https://platform.invalid", PLATFORM_HTTPS_PROXY=f"http://127.0.0.1:{closed_port()}"),
         "platform reachable", R, "PLATFORM_HTTPS_PROXY", 5),
    Case("the proxy is set for http, the platform is https",
         environ(PLATFORM_BASE_URL="https://platform.invalid", PLATFORM_HTTP_PROXY="http://127.0.0.1:9"),
         "platform reachable", Y, "PLATFORM_HTTPS_PROXY", 5),
    Case("the platform's certificate is self-signed", speak_tls, "platform reachable", R, "PLATFORM_CA_BUNDLE", 5),
    # credentials
    Case("the stored credential is dead", revoked, "credential accepted", R, "check --repair", 1),
    Case("the stored credential is superseded", lambda p: p.world.simulator.issue(APP, "js_ticket"),
         "credential accepted", R, "fetches credentials of this application", 1),
    Case("somebody else writes the key", stored(fence=None), "credential writers", R, "old cron task", 1),
    Case("somebody puts an older value back", stored(fence=7), "credential writers", R, "old cron task", 1),
    Case("somebody else fetches again and again", lease(superseded=lambda now: f"{now - 9} {now - 8} {now - 7}"),
         "credential writers", R, "a colleague", 1),
    Case("another fetched once", lease(superseded=lambda now: f"{now - 9}"), "credential writers", Y, "a colleague", 0),
    Case("the key has no TTL", lambda p: p.admin.persist(VALUE), "credential writers", Y, "TTL", 0,
         (pytest.mark.keys_without_ttl("it is what is wrong"),)),
    Case("another type is under the key", another_type, "credential stored", R, "who writes this key", 1),
    Case("the user has no right to the keys of one kind", user("resetkeys", *(f"~{key}" for key in keys_of(TICKET))),
         "credential stored", R, "right", 4),
    Case("the value is not JSON", lambda p: p.admin.set(VALUE, "x", ex=7000),
         "credential stored", R, "who writes this key", 1),
    Case("the value's end is past and its TTL is not", stored(expires_in=1), "credential stored", R, "refresh", 1),
    Case("nothing is stored", lambda p: p.admin.flushall(), "credential stored", R, "token-refresher refresh", 1),
    Case("a credential expires soon", lambda p: p.world.advance(6900), "credential stored", R, "refresh", 1),
    Case("a credential was not renewed in time", lambda p: p.world.advance(6000), "credential stored", Y, "timer", 1),
    # the function
    Case("the function's time-out is too short to fetch", lambda p: to_function(p, 15), "run time-out", R, "62 s", 1),
    Case("its time-out is too short for a slow Redis", lambda p: to_function(p, 16), "run time-out", R, "62", 1),
    Case("the access key may not ask about the function",
         lambda p: to_function(p, ALIBABA_CLOUD_ACCESS_KEY_SECRET=plant("another-secret")),
         "run time-out", Y, "fc:GetFunction", 0),
    Case("there is no such function", lambda p: to_function(p, FUNCTION_NAME="other"),
         "run time-out", Y, "FUNCTION_", 0),
    Case("there is no access key", lambda p: to_function(p, ALIBABA_CLOUD_ACCESS_KEY_ID=""), "run time-out", Y,
         "correct what is named", 0),
    # runs
    Case("the timer is dead", lambda p: p.world.advance(1200), "run timer", R, "enable the timer", 1),
    Case("the timer never fired", lambda p: p.admin.flushall(), "run timer", R, "enable the timer", 1),
    Case("somebody stores a value over a settled one", stored(issued_at=None), "run lease", Y, "the next run asks", 0),
    Case("an attempt was never settled", lease(mark=lambda _: "dead", mark_since=lambda now: now - 1_000_000),
         "run lease", R, "token-refresher refresh", 1),
    Case("an attempt had no definite end a moment ago", lease(mark=lambda _: "dead", mark_since=lambda now: now - 1000),
         "run lease", Y, "the next run asks", 0),
    Case("a run was killed in its attempt",
         lease(work_until=lambda now: now - 1, locked_until=lambda now: now + 50_000),
         "run lease", Y, "log of the run", 0),
    Case("a clock set back left an endless lock", lease(locked_until=lambda now: now + 9_000_000),
         "run lease", Y, "NTP", 0),
    Case("fetching keeps failing",
         lease(callers=lambda now: f"abc:{now}:4:0:not_white_listed", outcome=lambda _: "refused: not_white_listed"),
         "run lease", R, "white list", 1),
    Case("another copy has failed once", lease(callers=lambda now: f"abc:{now}:1:0:wrong_secret"),
         "run lease", Y, "find that copy", 0),
    Case("another copy never ends its attempts", lease(callers=lambda now: f"abc:{now}:3:0:no_end"),
         "run lease", R, "check its log", 1),
)  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(each, id=each.sentence, marks=each.marks) for each in CASES])
def test_the_doctor_finds_it_names_the_fix_and_touches_nothing(
    case: Case, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    case.plant(patient)
    alive = not patient.world.redis.paused
    before = patient.holdings() if alive else {}
    requests = patient.world.simulator.count()
    findings = patient.examined()
    found = [each for each in of(findings, case.check) if each.severity is case.severity and case.fix in each.fix]
    assert found, "\n".join(f"{each.severity.value}: {each.says} -> {each.fix}" for each in of(findings, case.check))
    assert of_red_groups(red_groups(findings)) == case.exit_code
    # Everything was looked at, or there is a reason.
    assert {each.name for each in findings} == set(CHECKS)
    assert all(each.says and (each.fix or each.severity in (Severity.GREEN, Severity.GREY)) for each in findings)
    for as_json in (False, True):
        assert show(findings, Output({}, as_json)) == case.exit_code
    assert case.fix in capsys.readouterr().out
    if alive:
        assert patient.holdings() == before
    asked = patient.world.simulator.requests[requests:]
    assert {each.path for each in asked} <= {CHECK_PATH, TOKEN_PATH}
    assert not [each for each in asked if each.grant_type == "client_credential"]


def test_each_case_has_a_sentence_of_its_own() -> None:
    sentences = [case.sentence for case in CASES]
    assert len(set(sentences)) == len(sentences) >= 20


# -- a healthy world --------------------------------------------------------------------------------------------------


def to_function(patient: Patient, time_out_s: object = 70, **environ: str) -> None:
    """Function Compute, with a function of FC 2.0 that has this time-out."""
    server = patient.stack.enter_context(FcServer())
    secret = server.keys["LTAI-made-up"] = plant("access-key-secret")
    server.functions["refreshing", "refresher"] = lambda event, context: None
    server.time_out_s = time_out_s
    patient.environ |= {
        "FUNCTION_NAME": "refresher",
        "FUNCTION_SERVICE": "refreshing",
        "FUNCTION_ENDPOINT": server.endpoint,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-made-up",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
        **environ,
    }


def test_a_limit_of_requests_says_nothing_about_address_and_secret(patient: Patient) -> None:
    patient.world.simulator.limit(None, 0)
    lights = {each.name: each.severity for each in patient.examined() if each.name.startswith("platform ")}
    assert lights["platform reachable"] is Severity.GREEN
    assert lights["platform white list"] is lights["platform secret"] is Severity.GREY


def test_a_platform_without_a_date_header_is_asked_all_the_same(patient: Patient) -> None:
    patient.world.simulator.date_offset_s = None
    lights = {each.name: each.severity for each in patient.examined() if each.name.startswith("platform ")}
    assert lights.pop("platform clock") is Severity.GREY
    assert set(lights.values()) == {Severity.GREEN}


def test_a_healthy_world_is_all_green(patient: Patient) -> None:
    to_function(patient)
    before = patient.holdings()
    findings = patient.examined()
    assert [each for each in findings if each.severity is not Severity.GREEN] == []
    assert {each.name for each in findings} == set(CHECKS)
    assert of_red_groups(red_groups(findings)) == 0
    assert patient.holdings() == before
    assert [patient.world.simulator.fetches(APP, kind.value) for kind in Kind] == [1, 1]


def test_with_a_prefix_and_another_database_a_healthy_world_is_green_too(patient: Patient) -> None:
    patient.environ["REDIS_KEY_PREFIX"] = "shop:"
    patient.environ["REDIS_URL"] = patient.world.redis.url.removesuffix("0") + "1"
    patient.deployment.environ.update(patient.environ)
    patient.deployment.refresher().run_once(Command())
    patient.world.advance(SINCE_THE_RUN_S)
    assert {each.severity for each in patient.examined()} == {Severity.GREEN, Severity.GREY}


def test_a_run_at_work_is_no_reason_to_worry(patient: Patient) -> None:
    lease(work_until=lambda now: now + 20_000, locked_until=lambda now: now + 80_000)(patient)
    assert {each.severity for each in of(patient.examined(), "run lease")} == {Severity.GREEN}


def test_codes_that_were_issued_this_very_moment_are_not_condemned(patient: Patient) -> None:
    patient.deployment.run(Command(force=True))
    patient.world.simulator.issue(APP, "js_ticket")
    shown = {each.about: each.severity for each in of(patient.examined(), "credential accepted")}
    assert shown == {f"{APP} access_token": Severity.GREEN, f"{APP} js_ticket": Severity.GREY}


def test_the_fix_for_the_white_list_names_the_proxy_where_there_is_one(patient: Patient) -> None:
    patient.world.simulator.white_list(APP, ["203.0.113.9"])
    (refused,) = of(patient.examined(), "platform white list")
    assert refused.severity is Severity.RED
    assert refused.fix.endswith("the application's IP white list")
    patient.environ["PLATFORM_HTTP_PROXY"] = patient.world.simulator.url
    (refused,) = of(patient.examined(), "platform white list")
    assert refused.fix.endswith("the address of the proxy")


def test_without_the_rights_of_an_examination_what_needs_them_is_grey(patient: Patient) -> None:
    patient.user("-info", "-config")
    findings = patient.examined()
    grey = {each.name for each in findings if each.severity is Severity.GREY}
    assert grey == {*doctor_redis.REST, "run time-out"}
    assert {each.severity for each in findings} == {Severity.GREEN, Severity.GREY}


def test_whether_snapshots_are_taken_is_not_known_to_whom_may_not_ask(patient: Patient) -> None:
    config(appendonly="no", save="3600 1")(patient)
    assert of(patient.examined(), "redis persistence")[0].severity is Severity.GREEN
    patient.user("-config")
    assert of(patient.examined(), "redis persistence")[0].severity is Severity.GREY


def test_a_user_who_may_touch_the_real_keys_alone_is_not_blamed(patient: Patient) -> None:
    rules = [f"~{pattern}" for target in (TOKEN, TICKET) for pattern in keys_of(target)]
    patient.user("resetkeys", *rules)
    assert [(each.severity, each.fix != "") for each in of(patient.examined(), "redis rights")] == [
        (Severity.GREY, True)
    ]


def test_every_command_that_a_script_needs_is_named_when_it_is_missing(patient: Patient) -> None:
    called = re.findall(r"redis\.p?call\('([A-Z]+)'", "".join(script.read_text() for script in SCRIPTS))
    for command in {each.lower() for each in called}:
        patient.user(f"-{command}")
        before = patient.holdings()
        (told,) = of(patient.examined(), "redis rights")
        assert told.severity is Severity.RED
        assert f"+{command}" in told.fix.split(";")[0].split()
        # What may not be deleted goes by its TTL.
        left = patient.holdings().keys() - before.keys()
        assert command == "del" or not left
        assert all(0 < patient.admin.ttl(key) <= 60 for key in left)


def test_a_cluster_is_examined_node_by_node(start_redis: Callable[..., RedisServer], simulator: Simulator) -> None:
    server = start_redis({"cluster-enabled": "yes", "appendonly": "yes"}, password=plant("cluster-password"))
    client: Any = server.client()
    client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    wait_until("the cluster is one", lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
    url = f"redis+cluster://:{server.password}@127.0.0.1:{server.port}"
    environ = {"APP_ID": APP, "APP_SECRET": plant("any"), "REDIS_URL": url, "PLATFORM_BASE_URL": simulator.url}
    findings = examine(environ)
    lights = {each.name: each.severity for each in findings if each.name in ("redis reachable", *doctor_redis.REST)}
    assert set(lights.values()) == {Severity.GREEN}, [each for each in findings if each.severity is Severity.RED]
    assert not [each for each in of(findings, "redis rights") if "may not" in each.says]
    assert client.dbsize() == 0


# -- what stands in its way -------------------------------------------------------------------------------------------


def test_when_redis_is_gone_the_platform_is_examined_all_the_same(patient: Patient) -> None:
    redis_url(port=closed_port())(patient)
    lights = {each.name: each.severity for each in patient.examined()}
    assert lights["platform reachable"] is lights["platform secret"] is lights["platform white list"] is Severity.GREEN
    assert lights["redis rights"] is lights["credential stored"] is lights["run timer"] is Severity.GREY


def test_when_the_platform_is_gone_the_rest_is_examined_all_the_same(patient: Patient) -> None:
    patient.environ["PLATFORM_BASE_URL"] = f"http://127.0.0.1:{closed_port()}"
    lights = {each.name: each.severity for each in patient.examined()}
    assert lights["redis rights"] is lights["credential stored"] is lights["run timer"] is Severity.GREEN
    assert lights["platform secret"] is lights["platform white list"] is lights["credential accepted"] is Severity.GREY


def test_what_there_is_no_time_for_is_grey(patient: Patient) -> None:
    lights = {each.name: each.severity for each in patient.examined(time_limit_s=0)}
    assert lights.pop("settings") is Severity.GREEN
    assert set(lights.values()) == {Severity.GREY}
    assert set(lights) == set(CHECKS) - {"settings"}


def test_a_defect_in_one_check_stops_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("words that could be anything")

    monkeypatch.setattr(doctor_redis, "memory", broken)
    findings = patient.examined()
    assert "this check itself failed: KeyError in broken" in of(findings, "redis memory")[0].says
    assert "words that could be anything" not in str(findings)
    assert {each.severity for each in of(findings, "run timer")} == {Severity.GREEN}


def test_one_mistake_is_one_finding_and_the_others_say_why_they_are_missing(patient: Patient) -> None:
    patient.environ |= {"POLICY_TICK_S": "soon", "APP_SECRET": ""}
    findings = patient.examined()
    assert [each.severity for each in of(findings, "settings")] == [Severity.RED, Severity.RED]
    assert {each.says for each in findings if each.severity is Severity.GREY} == {
        "not examined: the settings come first"
    }


# -- many applications ------------------------------------------------------------------------------------------------


def test_many_applications_are_summed_up_for_people_and_listed_in_json(
    start_world: Callable[..., World], capsys: pytest.CaptureFixture[str]
) -> None:
    world = start_world({"appendonly": "yes"})
    deployment = Deployment(world, 12)
    deployment.run()
    world.advance(SINCE_THE_RUN_S)
    world.simulator.white_list("app0003", ["203.0.113.9"])
    findings = examine(deployment.environ, wall=world.now, clock=deployment.clock)
    assert show(findings, Output({}, False)) == 5
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 60
    assert "one of 12 alike" in shown
    assert "app0003" in next(line for line in shown.splitlines() if line.startswith("x red"))
    show(findings, Output({}, True))
    document = json.loads(capsys.readouterr().out)
    assert len([each for each in document["findings"] if each["name"] == "credential stored"]) == 24
    assert document["exit_code"] == 5
    assert document["summary"]["red"] == 1


def test_a_shard_whose_timer_is_dead_is_told_apart(start_world: Callable[..., World]) -> None:
    world = start_world({"appendonly": "yes"})
    deployment = Deployment(world, 4)
    deployment.run()
    world.advance(1200)
    deployment.run(Command(apps=("app0000", "app0001")))
    (told,) = of(examine(deployment.environ, wall=world.now, clock=deployment.clock), "run timer")
    assert told.severity is Severity.RED
    assert "2 of 4 applications lately: app0002, app0003" in told.says
    assert "shard" in told.fix


def test_different_fixes_are_never_gathered() -> None:
    one = Finding("run lease", Severity.RED, "says", "fix", "a")
    assert gathered([one, replace(one, fix="another"), one, one]) == [one, one, one, replace(one, fix="another")]
    assert len(gathered([one] * 3 + [replace(one, about="b")])) == 1


# -- judgements of what INFO says -------------------------------------------------------------------------------------


@each_line(
    ("finding", "severity"),
    [
        (doctor_redis.version({"redis_version": "7.0.15"}), Severity.GREEN),
        (doctor_redis.version({"redis_version": "5.0.5"}), Severity.YELLOW),
        (doctor_redis.version({"redis_version": "3.2"}), Severity.RED),
        (doctor_redis.version({}), Severity.GREY),
        (doctor_redis.memory({"used_memory": 85, "maxmemory": 100}), Severity.YELLOW),
        (doctor_redis.memory({"used_memory": 10, "maxmemory": 0, "total_system_memory": 100}), Severity.GREEN),
        (doctor_redis.memory({"used_memory": 10}), Severity.GREY),
        (doctor_redis.eviction({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}), Severity.GREEN),
        (doctor_redis.persistence({"rdb_last_bgsave_status": "err"}, "3600 1"), Severity.RED),
        (doctor_redis.persistence({}, "3600 1"), Severity.GREEN),
        (doctor_redis.persistence({}, None), Severity.GREY),
    ],
)
def test_what_info_says_is_judged(finding: Finding, severity: Severity) -> None:
    assert finding.severity is severity


def test_the_paths_of_fetching_are_none_that_the_doctor_uses_for_it() -> None:
    """A ticket is never asked for; the token's address only with a login-free code (see the parametrised test)."""
    assert TICKET_PATH not in {CHECK_PATH, TOKEN_PATH}
    assert PUBLIC_KEY[Kind.JS_TICKET][0].format(APP) == VALUE
