"""Whole runs against a Redis that fails: nothing is fetched that could not be stored, and the next ticks heal.

Throughout, a reader never finds a code that the platform refuses. `Job.tick` looks, before and after each run.
"""

from __future__ import annotations

import contextlib
import json
import pkgutil
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import redis

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.looks import Looks
from support.planted import plant
from support.processes import Child
from support.redis_server import RedisServer, find_faketime
from support.tcp_proxy import Act, TcpProxy
from support.world import World
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Outcome, Snapshot, Target
from token_refresher.domain.report import Report, TargetReport
from token_refresher.settings.loader import read
from token_refresher.store.keys import WIRE_NAME, Keys, keys_of

TICK_S = 60
# A code that is this old has less than the margin left.
DUE_S = 5500
# What is left of a command's time-out; a healthy Redis answers within a millisecond.
TIMEOUT_S = 0.3
# The design's bound: work + flight + tick + work = 30 + 60 + 60 + 30 s.
HEALED_WITHIN = 3
KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]


def last_line(script: str) -> bytes:
    """What only the text of that script holds, to tell a command by on the wire."""
    return (pkgutil.get_data("token_refresher", f"store/scripts/{script}.lua") or b"").splitlines()[-1]


LOAD, ACQUIRE, FINISH = (last_line(script) for script in ("load", "acquire", "finish"))
LOCK_MS = 90_000


class Job:
    """The refresher in a World, as a warm instance that is woken tick after tick.

    `on_pause` is called instead of waiting between the repeats of a command.
    """

    def __init__(self, world: World, url: str = "", **policy: float) -> None:
        self.world, self.app_id = world, world.app_id()
        environment = world.settings_env(**{"redis_timeout_s": TIMEOUT_S, **policy})
        self.settings = read(environment | ({"REDIS_URL": url} if url else {}))
        store = wiring.store(self.settings)
        store._pause = lambda seconds: self.on_pause(seconds)
        self.refresher = replace(wiring.refresher(self.settings, wall=world.now), store=store)
        self.on_pause: Callable[[float], None] = lambda _seconds: None
        # Whatever becomes of the server, it connects again; and it waits for no frozen one.
        self.peek: Any = world.redis.client(socket_timeout=TIMEOUT_S)

    # -- looking -----------------------------------------------------------------------------

    def keys(self, kind: Kind) -> Keys:
        return keys_of(Target(self.app_id, kind))

    def code(self, kind: Kind) -> str | None:
        """What a reader finds, read as the published clients do; None when there is nothing, or no record."""
        try:
            code = json.loads(self.peek.get(self.keys(kind).value) or b"{}").get(WIRE_NAME[kind])
        except (redis.ResponseError, ValueError, AttributeError, RecursionError):
            return None
        return str(code) if code else None

    def look(self) -> None:
        """No reader ever holds a code that the platform refuses. Whoever cannot read holds none."""
        if not self.world.redis.alive or self.world.redis.paused:
            return
        with contextlib.suppress(redis.RedisError):
            for kind in KINDS:
                code = self.code(kind)
                assert code is None or self.world.simulator.valid(self.app_id, kind.value, code), kind

    def fetches(self) -> list[int]:
        return [self.world.simulator.fetches(self.app_id, kind.value) for kind in KINDS]

    def requests(self) -> int:
        """What may have issued a code."""
        return self.world.simulator.count(TOKEN_PATH) + self.world.simulator.count(TICKET_PATH)

    def healthy(self) -> bool:
        """Both codes are there, are the newest ones, and nothing is locked or unsettled."""
        for kind in KINDS:
            newest = self.world.simulator.newest(self.app_id, kind.value)
            (seen,) = self.refresher.store.load([Target(self.app_id, kind)])
            assert isinstance(seen, Snapshot)
            locked = 0 < seen.lease.locked_until - seen.now_ms <= LOCK_MS
            if newest is None or self.code(kind) != newest.code or locked or not seen.lease.settled:
                return False
        return True

    # -- running -----------------------------------------------------------------------------

    def tick(self, command: Command | None = None) -> Report:
        """One run. Raises StoreError as it does."""
        self.look()
        try:
            return self.refresher.run_once(command or Command())
        finally:
            self.look()

    def tick_with(self, spoil: Callable[[], object], path: str = TOKEN_PATH, where: Any = "after") -> Report:
        """One run with something done to it while the platform's answer is under way."""
        gate = self.world.simulator.hold(path, where)
        reports: list[Report] = []
        run = threading.Thread(target=lambda: reports.append(self.refresher.run_once(Command())))
        run.start()
        gate.wait_reached()
        try:
            spoil()
        finally:
            gate.release()
            run.join()
        self.look()
        return reports[0]

    def fresh(self) -> None:
        """A first run that goes well."""
        self.tick()
        assert self.healthy()

    def due(self) -> None:
        """Both codes are stored and alive, and are to be renewed now."""
        self.fresh()
        self.world.advance(DUE_S)

    def healed_after(self, within: int = HEALED_WITHIN) -> int:
        """Ticks until all is well again, at most `within`."""
        for count in range(1, within + 1):
            self.world.advance(TICK_S)
            with contextlib.suppress(StoreError):
                self.tick()
            if self.healthy():
                return count
        raise AssertionError(f"not healed within {within} ticks: {self.tick(Command(Action.STATUS)).as_dict()}")


@pytest.fixture
def job(world: World) -> Job:
    return Job(world)


@pytest.fixture
def lasting(start_world: Callable[..., World]) -> Job:
    """On a Redis that loses nothing in a crash."""
    return Job(start_world({"appendonly": "yes", "appendfsync": "always"}))


@pytest.fixture
def proxy(world: World) -> Iterator[TcpProxy]:
    with TcpProxy(world.redis.port) as proxy:
        yield proxy


@pytest.fixture
def behind(world: World, proxy: TcpProxy) -> Job:
    """A Job that reaches its Redis through `proxy`."""
    return Job(world, proxy.url(quote(world.redis.password)))


def of(report: Report, kind: Kind) -> TargetReport:
    return next(each for each in report.targets if each.target.kind is kind)


def codes_in(report: Report) -> set[str]:
    return {each.failure.code for each in report.targets if each.failure}


def wait_until(true: Callable[[], bool]) -> None:
    """Return as soon as `true()` holds, which a bug keeps from happening."""
    never = threading.Event()
    for _ in range(2000):
        if true():
            return
        never.wait(0.005)
    raise TimeoutError("it did not come true")


@dataclass
class Breakage:
    """A way in which Redis does not do what is asked, and back.

    `code` is the error that is told. `unread`: it cannot even be read, so the run itself raises.
    """

    name: str
    code: str
    unread: bool
    spoil: Callable[[RedisServer], object]
    mend: Callable[[RedisServer], object]
    says: str = field(default="")

    def __str__(self) -> str:
        return self.name


def _config(name: str, value: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().config_set(name, value)


def _acl(*rules: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().execute_command("ACL", "SETUSER", "default", *rules)


def _replicate_nobody(server: RedisServer) -> None:
    server.client().execute_command("REPLICAOF", "127.0.0.1", "1")


def _replicate_nobody_silently(server: RedisServer) -> None:
    server.client().config_set("replica-serve-stale-data", "no")
    _replicate_nobody(server)


def _be_primary(server: RedisServer) -> None:
    server.client().execute_command("REPLICAOF", "NO", "ONE")


def _pause_clients(which: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().execute_command("CLIENT", "PAUSE", "40000", which)


def _let_pause_end(server: RedisServer) -> None:
    """Nobody can end it, for whoever could is paused too."""
    server.advance(41)
    assert server.client().ping()


def _keep_busy(server: RedisServer) -> None:
    """Run a script without end."""

    def run() -> None:
        with contextlib.suppress(redis.RedisError):
            server.client(socket_timeout=None).eval("while true do end", 0)

    def busy() -> bool:
        try:
            server.client().get("any")
        except redis.ResponseError as error:
            return "BUSY" in str(error)
        return False

    server.client().config_set("lua-time-limit", "1")
    threading.Thread(target=run, daemon=True).start()
    wait_until(busy)


def _kill_script(server: RedisServer) -> None:
    server.client().script_kill()
    wait_until(lambda: bool(server.client().ping()))


def _fail_to_save(server: RedisServer) -> None:
    """A snapshot that could not be saved makes Redis refuse writes."""
    (server.directory / "dump.rdb").mkdir()
    client = server.client()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def _save_again(server: RedisServer) -> None:
    (server.directory / "dump.rdb").rmdir()
    server.client().config_set("save", "")


BREAKAGES = [
    Breakage("killed", "redis_unreachable", True, RedisServer.kill, RedisServer.restart),
    Breakage("frozen", "redis_timeout", True, RedisServer.pause, RedisServer.resume),
    Breakage("all clients paused", "redis_timeout", True, _pause_clients("ALL"), _let_pause_end),
    Breakage("writing clients paused", "redis_timeout", True, _pause_clients("WRITE"), _let_pause_end),
    Breakage("a replica", "redis_read_only", False, _replicate_nobody, _be_primary),
    Breakage("a replica without its primary", "redis_loading", True, _replicate_nobody_silently, _be_primary),
    Breakage("busy with a script", "redis_error", True, _keep_busy, _kill_script, says="BUSY"),
    Breakage("unable to save", "redis_error", False, _fail_to_save, _save_again, says="MISCONF"),
    Breakage("without the right to EVAL", "redis_no_permission", True, _acl("-eval"), _acl("+eval")),
    Breakage("without the right to the keys", "redis_no_permission", True, _acl("resetkeys"), _acl("~*")),
    Breakage("without the right to TIME", "redis_no_permission", True, _acl("-time"), _acl("+time")),
    Breakage("without the right to HSET", "redis_no_permission", False, _acl("-hset"), _acl("+hset")),
]
# After these a command is repeated, because nobody knows whether it arrived.
OF_THE_CONNECTION = BREAKAGES[:4]


class TestBrokenBeforeTheRun:
    @pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
    def test_nothing_is_fetched_the_error_is_clear_and_the_next_tick_heals(
        self, breakage: Breakage, lasting: Job
    ) -> None:
        job = lasting
        job.due()
        before = job.requests()
        breakage.spoil(job.world.redis)
        if breakage.unread:
            with pytest.raises(StoreError) as raised:
                job.tick()
            failures = [(raised.value.code, raised.value.what)]
        else:
            failures = [(each.failure.code, each.failure.message) for each in job.tick().targets if each.failure]
        after = job.requests()
        breakage.mend(job.world.redis)
        assert {code for code, _ in failures} == {breakage.code}
        assert all(breakage.says in what for _, what in failures)
        assert after == before
        job.look()
        # A frozen server takes the lease when it thaws, for an attempt that is over.
        assert job.healed_after() <= (HEALED_WITHIN if "redis_timeout" in breakage.code else 1)
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
    def test_with_nothing_stored_yet_the_same_holds(self, breakage: Breakage, job: Job) -> None:
        breakage.spoil(job.world.redis)
        if breakage.unread:
            with pytest.raises(StoreError):
                job.tick()
        else:
            assert codes_in(job.tick()) >= {breakage.code}
        assert job.requests() == 0
        breakage.mend(job.world.redis)
        job.healed_after()
        assert job.fetches() == [1, 1]

    def test_a_wrong_password_is_told_without_it(self, world: World, no_secrets: Callable[[object], None]) -> None:
        password = plant("wrong-password")
        job = Job(world, f"redis://:{password}@127.0.0.1:{world.redis.port}/0")
        with pytest.raises(StoreError) as raised:
            job.tick()
        assert raised.value.code == "redis_auth"
        no_secrets(str(raised.value))
        assert job.requests() == 0

    def test_no_password_where_one_is_needed_is_told(self, world: World) -> None:
        job = Job(world, f"redis://127.0.0.1:{world.redis.port}/0")
        with pytest.raises(StoreError) as raised:
            job.tick()
        assert raised.value.code == "redis_auth"
        assert job.requests() == 0

    def test_an_outage_of_many_ticks_is_healed_by_the_first_after_it(self, lasting: Job) -> None:
        lasting.due()
        lasting.world.redis.kill()
        for _ in range(10):
            lasting.world.advance(TICK_S)
            with pytest.raises(StoreError):
                lasting.tick()
        lasting.world.redis.restart()
        assert lasting.healed_after() == 1
        assert lasting.fetches() == [2, 2]


class TestBrokenUnderAFetch:
    """After the lease was taken, before the code could be stored."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
    def test_at_most_one_fetch_more_and_no_other_one_in_that_run(
        self, breakage: Breakage, kind: Kind, lasting: Job
    ) -> None:
        job, server = lasting, lasting.world.redis
        job.due()
        path = TOKEN_PATH if kind is Kind.ACCESS_TOKEN else TICKET_PATH
        report = job.tick_with(lambda: breakage.spoil(server), path)
        breakage.mend(server)
        broken = of(report, kind)
        assert broken.outcome is Outcome.LOST
        assert broken.failure
        assert broken.failure.code == breakage.code
        if kind is Kind.ACCESS_TOKEN:
            assert of(report, Kind.JS_TICKET).outcome is Outcome.DEFERRED
            assert job.fetches() == [2, 1]
        job.look()
        job.healed_after()
        assert sum(job.fetches()) <= 4 + 1

    @pytest.mark.parametrize("breakage", OF_THE_CONNECTION, ids=str)
    def test_a_server_that_is_back_while_the_store_is_repeated_costs_nothing(
        self, breakage: Breakage, lasting: Job
    ) -> None:
        job, server = lasting, lasting.world.redis
        job.due()

        def back(seconds: float) -> None:
            if seconds >= 1:
                job.on_pause = lambda _seconds: None
                breakage.mend(server)

        job.on_pause = back
        report = job.tick_with(lambda: breakage.spoil(server))
        assert [each.outcome for each in report.targets] == [Outcome.ISSUED, Outcome.ISSUED]
        assert job.healthy()
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("away_s", [5, 60, 300])
    def test_it_dies_and_returns_with_its_data(self, away_s: int, lasting: Job) -> None:
        lasting.due()
        lasting.tick_with(lasting.world.redis.kill)
        lasting.world.advance(away_s)
        lasting.world.redis.restart()
        lasting.healed_after()
        assert sum(lasting.fetches()) <= 4 + 1

    @pytest.mark.parametrize("away_s", [5, 60, 300])
    def test_it_dies_and_returns_empty(self, away_s: int, job: Job) -> None:
        job.due()
        job.tick_with(job.world.redis.kill)
        job.world.advance(away_s)
        job.world.redis.restart(keep_data=False)
        assert job.healed_after() == 1
        assert sum(job.fetches()) <= 4 + 1

    def test_it_is_back_empty_while_the_store_is_repeated(self, job: Job) -> None:
        def back(_seconds: float) -> None:
            job.on_pause = lambda _seconds: None
            job.world.redis.restart(keep_data=False)

        job.due()
        job.on_pause = back
        report = job.tick_with(job.world.redis.kill)
        assert of(report, Kind.ACCESS_TOKEN).outcome is Outcome.ISSUED
        assert job.code(Kind.ACCESS_TOKEN)
        assert job.healed_after() == 1
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("frozen_s", [1, 20, 200, 480])
    def test_a_frozen_server_that_thaws_later_stores_no_code_that_is_not_the_newest(
        self, frozen_s: int, job: Job
    ) -> None:
        job.due()
        job.tick_with(job.world.redis.pause)
        job.world.advance(frozen_s)
        job.world.redis.resume()
        wait_until(lambda: bool(job.world.redis.client().ping()))
        job.look()
        job.healed_after()
        assert sum(job.fetches()) <= 4 + 1


class TestLoading:
    """A server that was restarted answers LOADING until it has read its snapshot."""

    @pytest.fixture
    def job(self, start_world: Callable[..., World]) -> Job:
        """It answers now and then while it loads, so it is given time to answer at all."""
        job = Job(start_world({"appendonly": "yes", "appendfsync": "no"}), redis_timeout_s=3)
        job.due()
        return job

    def fill(self, job: Job, thousands: int) -> None:
        """It listens after every thousand commands of its file, so this is about how often it says LOADING."""
        script = "for n = 1, 1000 do redis.call('SET', KEYS[1] .. n, '', 'EX', 86400) end"
        for n in range(thousands):
            job.peek.eval(script, 1, f"filler-{n}-")

    def restart_slowly(self, job: Job) -> None:
        server = job.world.redis
        # In microseconds, for each of them; the kernel makes more of it.
        server.options["key-load-delay"] = "1"
        # What it wrote is in its file, and a planned end would wait for the disk.
        server.kill()
        server.restart()
        del server.options["key-load-delay"]

    def finish(self, job: Job) -> None:
        """It cannot be hurried: while it loads it takes no settings."""
        client: Any = job.world.redis.client()
        wait_until(lambda: client.info("persistence")["loading"] == 0)
        client.delete(*client.keys("filler-*"))

    def test_before_a_run_nothing_is_fetched(self, job: Job) -> None:
        self.fill(job, 6)
        self.restart_slowly(job)
        with pytest.raises(StoreError) as raised:
            job.refresher.run_once(Command())
        self.finish(job)
        assert raised.value.code == "redis_loading"
        assert job.fetches() == [1, 1]
        assert job.healed_after() == 1
        assert job.fetches() == [2, 2]

    def test_under_a_fetch_it_costs_one_fetch_more(self, job: Job) -> None:
        self.fill(job, 12)
        report = job.tick_with(lambda: self.restart_slowly(job))
        self.finish(job)
        broken = of(report, Kind.ACCESS_TOKEN)
        assert broken.outcome is Outcome.LOST
        assert broken.failure
        assert broken.failure.code == "redis_loading"
        job.look()
        job.healed_after()
        assert sum(job.fetches()) <= 4 + 1

    def test_done_while_the_store_is_repeated_it_costs_nothing(self, job: Job) -> None:
        def done(_seconds: float) -> None:
            job.on_pause = lambda _seconds: None
            self.finish(job)

        self.fill(job, 8)
        job.on_pause = done
        report = job.tick_with(lambda: self.restart_slowly(job))
        assert not codes_in(report)
        assert job.healthy()
        assert job.fetches() == [2, 2]


class TestFullServer:
    """Over maxmemory with noeviction: what a run writes is so little that it always succeeds."""

    def fill(self, job: Job) -> None:
        client = job.world.redis.client()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.ResponseError):
            client.set("more", "x", ex=60)

    def test_codes_are_fetched_and_stored_where_none_were(self, job: Job) -> None:
        self.fill(job)
        report = job.tick()
        assert not codes_in(report)
        assert job.healthy()
        assert job.fetches() == [1, 1]

    def test_codes_are_renewed(self, job: Job) -> None:
        job.due()
        self.fill(job)
        assert not codes_in(job.tick())
        assert job.healthy()
        assert job.fetches() == [2, 2]

    def test_a_code_is_stored_when_it_fills_up_under_the_fetch(self, job: Job) -> None:
        job.due()
        assert not codes_in(job.tick_with(lambda: self.fill(job)))
        assert job.healthy()
        assert job.fetches() == [2, 2]

    def test_a_code_that_is_superseded_is_replaced(self, job: Job) -> None:
        job.fresh()
        self.fill(job)
        job.world.advance(240)
        job.world.simulator.issue(job.app_id, "js_ticket")
        assert job.healed_after() == 1

    def test_what_is_unsettled_is_settled(self, job: Job) -> None:
        job.due()
        self.fill(job)
        job.world.simulator.script(TICKET_PATH, Fault.cut(executed=True))
        job.tick()
        job.healed_after()

    def test_what_is_unsettled_is_settled_when_nothing_was_issued(self, job: Job) -> None:
        job.due()
        self.fill(job)
        job.world.simulator.script(TICKET_PATH, Fault.cut(executed=False))
        job.tick()
        job.healed_after()

    def test_two_lives_of_the_codes_pass(self, job: Job) -> None:
        self.fill(job)
        for _ in range(4 * 12):
            assert not codes_in(job.tick())
            job.world.advance(300)
        assert job.fetches() == [3, 3]


class TestBrokenConnections:
    """One connection breaks at one command; the run goes on, and nobody fetches more for it."""

    @pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.CUT_AFTER, Act.DROP_REPLY])
    @pytest.mark.parametrize(
        ("marker", "nth"),
        [(LOAD, 1), (ACQUIRE, 1), (ACQUIRE, 2), (FINISH, 1), (FINISH, 2)],
        ids=["load", "acquire", "acquire the second", "finish", "finish the second"],
    )
    def test_the_run_succeeds_all_the_same(
        self, nth: int, marker: bytes, act: Act, behind: Job, proxy: TcpProxy
    ) -> None:
        behind.due()
        script = proxy.script(act, marker, nth)
        report = behind.tick()
        script.wait_reached()
        assert not codes_in(report)
        assert behind.healthy()
        assert behind.fetches() == [2, 2]

    def test_a_warm_instance_whose_connections_died_in_its_sleep_goes_on(self, behind: Job, proxy: TcpProxy) -> None:
        behind.due()
        proxy.cut()
        assert not codes_in(behind.tick())
        assert behind.healthy()

    def test_a_late_duplicate_of_an_old_store_leaves_the_newer_code_alone(self, behind: Job, proxy: TcpProxy) -> None:
        behind.due()
        held = proxy.script(Act.HOLD, FINISH)
        behind.tick()
        behind.world.advance(DUE_S)
        behind.tick()
        assert behind.healthy()
        calls = self.calls(behind)
        held.release()
        wait_until(lambda: self.calls(behind) > calls)
        behind.look()
        assert behind.healed_after() == 1
        assert sum(behind.fetches()) <= 6 + 1

    def calls(self, job: Job) -> int:
        return int(job.world.redis.client().info("commandstats")["cmdstat_eval"]["calls"])

    def test_a_store_that_is_away_only_under_the_fetch_is_reached_again(self, behind: Job, proxy: TcpProxy) -> None:
        behind.due()
        behind.on_pause = lambda _seconds: proxy.accept_again() if behind.on_pause else None

        def once(_seconds: float) -> None:
            behind.on_pause = lambda _seconds: None
            proxy.accept_again()

        behind.on_pause = once
        assert not codes_in(behind.tick_with(proxy.refuse))
        assert behind.healthy()
        assert behind.fetches() == [2, 2]

    def test_scripts_that_the_server_forgot_are_no_matter(self, job: Job) -> None:
        job.due()
        report = job.tick_with(lambda: job.world.redis.client().script_flush())
        assert not codes_in(report)
        assert job.fetches() == [2, 2]

    def test_a_second_run_costs_one_round_trip(self, behind: Job, proxy: TcpProxy) -> None:
        behind.fresh()
        before = proxy.commands
        behind.tick()
        assert proxy.commands == before + 1


WHICH = [("value",), ("lease",), ("value", "lease")]


class TestLostKeys:
    """Evicted, flushed, or deleted by hand."""

    def drop(self, job: Job, which: tuple[str, ...], kinds: list[Kind]) -> None:
        job.world.redis.client().unlink(*[getattr(job.keys(kind), each) for kind in kinds for each in which])

    @pytest.mark.parametrize("which", WHICH)
    @pytest.mark.parametrize("kinds", [KINDS[:1], KINDS[1:], KINDS])
    def test_before_a_run(self, which: tuple[str, ...], kinds: list[Kind], job: Job) -> None:
        job.fresh()
        self.drop(job, which, kinds)
        assert job.healed_after() == 1
        assert sum(job.fetches()) <= 2 + len(kinds)

    @pytest.mark.parametrize("which", WHICH)
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_under_a_fetch(self, which: tuple[str, ...], kind: Kind, where: str, job: Job) -> None:
        job.due()
        path = TOKEN_PATH if kind is Kind.ACCESS_TOKEN else TICKET_PATH
        job.tick_with(lambda: self.drop(job, which, [kind]), path, where)
        job.healed_after()
        assert sum(job.fetches()) <= 4 + 1

    def test_an_old_snapshot_that_was_restored_is_stale_for_one_tick(self, job: Job) -> None:
        job.due()
        server, kept = job.world.redis, Path(job.world.redis.directory) / "kept.rdb"
        server.client().save()
        shutil.move(server.directory / "dump.rdb", kept)
        job.tick()
        job.world.advance(300)
        server.kill()
        shutil.move(kept, server.directory / "dump.rdb")
        server.restart()
        assert job.code(Kind.JS_TICKET)
        assert job.healed_after() == 1
        assert job.fetches() == [3, 3]


def _foreign(kind: Kind, **members: object) -> str:
    return json.dumps({WIRE_NAME[kind]: "code-of-another-tool", **members})


class TestForeignValues:
    """Somebody else wrote under a public key. What they wrote may be refused; the next tick replaces it."""

    @pytest.mark.keys_without_ttl("other tools forget it")
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "value",
        [b"", b"garbage", b"\xff\x00", b"[]", b"null", b'{"a": 1}', b"[" * 50_000, b"x" * 100_000, b'"text"'],
        ids=lambda value: repr(value[:10]),
    )
    def test_what_is_no_record_is_replaced_in_one_tick(self, value: bytes, kind: Kind, job: Job) -> None:
        job.fresh()
        job.world.redis.client().set(job.keys(kind).value, value)
        assert job.healed_after() == 1
        assert job.world.redis.client().ttl(job.keys(kind).value) > 0
        assert sum(job.fetches()) == 3

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("command", [("RPUSH", "x"), ("SADD", "x"), ("HSET", "f", "x"), ("ZADD", "1", "x")])
    def test_a_key_of_a_wrong_type_is_replaced_in_one_tick(
        self, command: tuple[str, ...], kind: Kind, job: Job
    ) -> None:
        job.fresh()
        client, key = job.world.redis.client(), job.keys(kind).value
        client.delete(key)
        client.execute_command(command[0], key, *command[1:])
        client.expire(key, 600)
        assert job.healed_after() == 1
        assert sum(job.fetches()) == 3

    @pytest.mark.keys_without_ttl("other tools forget it")
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_live_code_of_the_older_task_is_kept_until_it_is_due(self, kind: Kind, job: Job) -> None:
        job.fresh()
        theirs = job.world.simulator.issue(job.app_id, kind.value)
        value = json.dumps({WIRE_NAME[kind]: theirs.code, "expires_in": int(theirs.expires_at)})
        job.world.redis.client().set(job.keys(kind).value, value)
        job.world.advance(TICK_S)
        job.tick()
        assert job.code(kind) == theirs.code
        job.world.advance(DUE_S)
        job.tick()
        assert job.healthy()
        assert job.world.redis.client().ttl(job.keys(kind).value) > 0

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_written_under_a_fetch_it_is_overwritten(self, moment: str, kind: Kind, job: Job) -> None:
        job.due()
        path = TOKEN_PATH if kind is Kind.ACCESS_TOKEN else TICKET_PATH
        spoil = lambda: job.world.redis.client().set(job.keys(kind).value, "garbage", ex=600)  # noqa: E731
        job.tick_with(spoil, path, moment)
        assert job.healthy()
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_code_that_the_platform_never_issued_is_found_by_the_audit(self, kind: Kind, world: World) -> None:
        job = Job(world)
        job.fresh()
        world.advance(240)
        foreign = _foreign(kind, expires_in=int(world.now()) + 7200)
        world.redis.client().set(job.keys(kind).value, foreign, ex=7200)
        job.refresher.run_once(Command())
        job.look()
        assert job.healthy()


class TestForeignLeases:
    """Somebody's hand, or an older version, in the private hash."""

    YEAR_3000_MS = "32503680000000"
    SPOILT: ClassVar[list[dict[str, str]]] = [
        {"locked_until": YEAR_3000_MS, "attempt": "nobody"},
        {"work_until": YEAR_3000_MS},
        {"retry_at": YEAR_3000_MS},
        {"audited_at": YEAR_3000_MS},
        {"unsettled_since": YEAR_3000_MS},
        {"unsettled_since": "garbage"},
        {"fence": "garbage"},
        {"fence": "9" * 15},
        {"failures": "garbage"},
        {"failures": "9" * 15},
        {"superseded": "garbage", "superseded_code": "\x00"},
        {"outcome": "x" * 5000},
        dict.fromkeys(["attempt", "fence", "locked_until", "retry_at", "audited_at", "before", "finished"], "?"),
    ]  # fmt: skip

    @pytest.mark.parametrize("fields", SPOILT, ids=lambda fields: ",".join(fields))
    @pytest.mark.parametrize("due", [False, True], ids=["fresh", "due"])
    def test_whatever_it_holds_the_next_tick_heals(self, due: bool, fields: dict[str, str], job: Job) -> None:
        job.fresh()
        for kind in KINDS:
            job.world.redis.client().hset(job.keys(kind).lease, mapping=fields)
        if due:
            job.world.advance(DUE_S)
        assert job.healed_after() == 1
        assert max(job.fetches()) <= 2

    @pytest.mark.parametrize("fields", SPOILT, ids=lambda fields: ",".join(fields))
    def test_a_refusal_of_the_platform_is_entered_all_the_same(self, fields: dict[str, str], job: Job) -> None:
        job.due()
        for kind in KINDS:
            job.world.redis.client().hset(job.keys(kind).lease, mapping=fields)
        job.world.simulator.script(TICKET_PATH, Fault.white_list())
        report = job.tick()
        assert of(report, Kind.JS_TICKET).outcome is Outcome.REFUSED
        assert codes_in(report) == {"not_white_listed"}
        job.healed_after()

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_wrong_type_it_is_replaced(self, kind: Kind, job: Job) -> None:
        job.fresh()
        client, key = job.world.redis.client(), job.keys(kind).lease
        client.delete(key)
        client.rpush(key, "a", "list")
        client.expire(key, 600)
        assert job.healed_after() == 1
        assert job.fetches() == [1, 1]

    def test_a_crash_with_a_garbled_mark_is_not_taken_for_settled(self, job: Job) -> None:
        """Another's fetch superseded the ticket right after an audit, and the only mark of it cannot be read."""
        job.fresh()
        job.world.advance(100)
        assert job.tick(Command(Action.AUDIT)).summary()["questions"] == 2
        job.world.simulator.issue(job.app_id, "js_ticket")
        job.world.redis.client().hset(job.keys(Kind.JS_TICKET).lease, "mark", "no mark that we write")
        assert job.healed_after() == 1
        assert job.fetches() == [1, 2]


class SteppedWorld(World):
    """Redis's clock alone may step; the platform's goes on."""

    stepped_s = 0.0

    def now(self) -> float:
        return self.redis.now() - self.stepped_s

    def step(self, seconds: float) -> None:
        self.stepped_s += seconds
        self.redis.advance(seconds)


STEPS_S = [30, -30, 900, -900, 86400, -86400]


class TestRedisClock:
    """Redis's clock is set while everything runs. The codes are right by the platform's."""

    @pytest.fixture
    def stepped(self) -> Iterator[SteppedWorld]:
        with SteppedWorld() as world:
            yield world

    def pass_time(self, job: Job, seconds: int) -> int:
        """Run every five minutes, and look every minute; returns how often a reader found no code."""
        missing = 0
        for minute in range(seconds // 60):
            if minute % 5 == 0:
                job.tick()
            missing += sum(job.code(kind) is None for kind in KINDS)
            job.look()
            job.world.advance(60)
        return missing

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_between_two_runs(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped, tick_s=300)
        assert self.pass_time(job, 1200) == 0
        before = job.fetches()
        stepped.step(step_s)
        assert self.pass_time(job, 600) == 0
        assert max(now - then for now, then in zip(job.fetches(), before, strict=True)) <= 1
        # Beyond the life of every code that was stored before the step.
        assert self.pass_time(job, 7800) == 0
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", [-2400, -3600, -4500])
    def test_a_step_back_by_less_than_the_age_of_a_code_is_found_while_the_code_still_lives(
        self, step_s: int, stepped: SteppedWorld
    ) -> None:
        """Nothing that Redis recorded shows it: the codes only seem to live longer."""
        job = Job(stepped, tick_s=300)
        assert self.pass_time(job, 4800) == 0
        before = job.fetches()
        stepped.step(step_s)
        assert self.pass_time(job, 900) == 0
        assert [now - then for now, then in zip(job.fetches(), before, strict=True)] == [1, 1]
        assert self.pass_time(job, 7800) == 0
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_under_a_fetch(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped, tick_s=300)
        job.due()
        job.tick_with(lambda: stepped.step(step_s), TICKET_PATH)
        job.healed_after()
        self.pass_time(job, 7800)
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_after_a_crash(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped)
        job.due()
        stepped.simulator.script(TICKET_PATH, Fault.cut(executed=True))
        job.tick()
        stepped.step(step_s)
        job.healed_after(4)


DRIVER = """
import json, os, socket, time
from support.child import say, wrap
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.settings.loader import read

socket.gethostname = lambda: os.environ["FAKETIME"]
refresher = wiring.refresher(read(os.environ))
say(f"clock:{time.time()}")
while (line := input()) == "tick":
    report = refresher.run_once(Command())
    say("ran:" + json.dumps([[each.reason, each.outcome and each.outcome.value] for each in report.targets]))
"""


class TestClientClock:
    """The machines that refreshers run on are ten minutes off, in either direction; each has a name of its own."""

    def start(self, world: World, offset_s: int) -> Child:
        clock = {"LD_PRELOAD": find_faketime(), "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        child = Child(DRIVER, world.settings_env() | clock)
        shown = float(child.wait_for("clock:").removeprefix("clock:"))
        assert shown - world.now() == pytest.approx(offset_s, abs=30)
        return child

    def result(self, child: Child) -> list[list[str | None]]:
        result: list[list[str | None]] = json.loads(child.wait_for("ran:").removeprefix("ran:"))
        return result

    def run(self, child: Child) -> list[list[str | None]]:
        child.send("tick")
        return self.result(child)

    @pytest.fixture
    def ahead(self, world: World) -> Iterator[Child]:
        with self.start(world, 600) as child:
            yield child

    @pytest.fixture
    def behind(self, world: World) -> Iterator[Child]:
        with self.start(world, -600) as child:
            yield child

    @pytest.mark.parametrize("first", ["ahead", "behind"])
    def test_two_that_differ_by_twenty_minutes_never_fetch_at_once(
        self, first: str, world: World, ahead: Child, behind: Child
    ) -> None:
        one, other = (ahead, behind) if first == "ahead" else (behind, ahead)
        gate = world.simulator.hold(TOKEN_PATH, "before")
        one.send("tick")
        gate.wait_reached()
        looks = Looks(world)
        other.send("tick")
        looks.wait_for(4)
        assert world.simulator.count(TOKEN_PATH) == 1
        gate.release()
        assert [outcome for _, outcome in self.result(one)] == ["issued", "issued"]
        assert self.result(other) == [["FRESH", None], ["FRESH", None]]
        assert Job(world).fetches() == [1, 1]

    @pytest.mark.parametrize("first", ["ahead", "behind"])
    def test_a_crashed_one_s_lock_ends_for_the_other_when_redis_says_so(
        self, first: str, world: World, ahead: Child, behind: Child
    ) -> None:
        one, other = (ahead, behind) if first == "ahead" else (behind, ahead)
        gate, began = world.simulator.hold(TOKEN_PATH, "before"), world.now()
        one.send("tick")
        gate.wait_reached()
        one.kill()
        world.advance(85)
        # Nothing is stored, so the run waits for the lock's end.
        assert self.run(other) == [["MISSING", "issued"], ["MISSING", "issued"]]
        assert LOCK_MS <= (world.now() - began) * 1000 < LOCK_MS + 5000
        gate.release()

    @pytest.mark.parametrize("who", ["ahead", "behind"])
    def test_expiry_is_the_platform_s_and_it_is_renewed_when_it_is_due(
        self, who: str, world: World, ahead: Child, behind: Child
    ) -> None:
        child = ahead if who == "ahead" else behind
        job = Job(world)
        assert self.run(child) == [["MISSING", "issued"], ["MISSING", "issued"]]
        for kind in KINDS:
            key = job.keys(kind).value
            stored: Any = world.redis.client().get(key)
            newest = world.simulator.newest(job.app_id, kind.value)
            assert newest
            assert json.loads(stored)["expires_in"] == pytest.approx(newest.expires_at, abs=5)
            assert newest.expires_at - 10 <= world.now() + int(world.redis.client().pttl(key)) / 1000
            assert world.now() + int(world.redis.client().pttl(key)) / 1000 <= newest.expires_at + 1
        world.advance(7200 - 1800 - 60)
        assert [reason for reason, _ in self.run(child)] == ["FRESH", "FRESH"]
        world.advance(120)
        assert self.run(child) == [["NEAR_EXPIRY", "issued"], ["NEAR_EXPIRY", "issued"]]
        assert job.healthy()
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("who", ["ahead", "behind"])
    def test_another_one_s_refresh_is_noticed_and_a_good_code_is_not_condemned(
        self, who: str, world: World, ahead: Child, behind: Child
    ) -> None:
        child = ahead if who == "ahead" else behind
        job = Job(world)
        self.run(child)
        world.advance(240)
        assert [reason for reason, _ in self.run(child)] == ["FRESH", "FRESH"]
        assert world.simulator.count(CHECK_PATH) == 2
        world.simulator.issue(job.app_id, "js_ticket")
        world.advance(240)
        assert self.run(child)[1] == ["SUPERSEDED", "issued"]
        assert job.healthy()
