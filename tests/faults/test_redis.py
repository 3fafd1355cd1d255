"""Whole runs against a Redis that fails: nothing is fetched that could not be stored, and the next ticks heal.

Throughout, a reader never finds a credential that the platform refuses. `Job.tick` looks, before and after each run.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import redis
from redis.crc import key_slot

from platform_simulator import TICKET_PATH, TOKEN_PATH, Fault
from support.flow import PUBLIC_KEY, SAMPLE_S, Deployment, of
from support.job import DUE_S, HEALED_WITHIN, KINDS, TICK_S, Job, codes_in
from support.planted import plant
from support.redis_breakages import BREAKAGES, OF_THE_CONNECTION, Breakage
from support.redis_server import RedisServer
from support.scaled_job import APP_ID, LIFETIME_S, ScaledJob
from support.tcp_proxy import Act, TcpProxy
from support.topologies import Cluster, Sentinels
from support.waiting import wait_until
from support.world import World
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.store.keys import WIRE_NAME, keys_of

TICKET = Target(APP_ID, Kind.JS_TICKET)


def last_line(script: str) -> bytes:
    """What only the text of that script holds, to tell a command by on the wire."""
    return (pkgutil.get_data("token_refresher", f"store/scripts/{script}.lua") or b"").splitlines()[-1]


LOAD, ACQUIRE, FINISH = (last_line(script) for script in ("load", "acquire", "finish"))


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


@pytest.fixture
def due(job: Job) -> Job:
    """Both credentials are stored and alive, and are to be renewed now."""
    job.due()
    return job


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
    """After the lease was taken, before the credential could be stored."""

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
        wait_until("it answers again", lambda: bool(job.world.redis.client().ping()))
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
        wait_until("it has loaded", lambda: client.info("persistence")["loading"] == 0)
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
        wait_until("the late one is carried out", lambda: self.calls(behind) > calls)
        behind.look()
        assert behind.healed_after() == 1
        assert sum(behind.fetches()) <= 6 + 1

    def calls(self, job: Job) -> int:
        return int(job.world.redis.client().info("commandstats")["cmdstat_eval"]["calls"])

    def test_a_store_that_is_away_only_under_the_fetch_is_reached_again(self, behind: Job, proxy: TcpProxy) -> None:
        behind.due()

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


# -- standing still, and refusing writes --------------------------------------------------------

# What a server is told, after which it answers nobody: for a second, or until the script is killed.
STILL = {"in a script": ("EVAL", "while true do end", "0"), "asleep": ("DEBUG", "SLEEP", "1")}


def stand_still(server: RedisServer, command: tuple[str, ...]) -> None:
    """Let it answer nobody; returns when it has begun. Skips where the command is not allowed."""
    refused: list[str] = []
    # After that it answers again, but only that it is busy.
    server.client().config_set("lua-time-limit", 1000)

    def send() -> None:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            try:
                server.client(socket_timeout=60).execute_command(*command)
            except redis.ResponseError as error:
                if "killed" not in str(error):
                    refused.append(str(error))

    def stands() -> bool:
        try:
            server.client(socket_timeout=0.05).ping()
        except (redis.TimeoutError, redis.ResponseError):
            return True
        return bool(refused)

    threading.Thread(target=send, daemon=True).start()
    wait_until("it stands still", stands)
    if refused:
        pytest.skip(f"NOT TESTED: this Redis does not do it: {refused[0]}")


def goes_on(server: RedisServer) -> None:
    """Returns when it answers everybody again."""

    def answers() -> bool:
        client = server.client(socket_timeout=30)
        with suppress(redis.ResponseError):
            client.script_kill()
        return bool(client.ping())

    wait_until("it goes on", answers)


@pytest.mark.parametrize("how", STILL)
def test_a_server_that_stands_still_before_a_run_costs_no_fetch(due: Job, how: str) -> None:
    stand_still(due.world.redis, STILL[how])
    said = ""
    try:
        due.refresher.run_once(Command())
    except StoreError as error:
        said = error.code
    goes_on(due.world.redis)
    # On a very slow machine it may have gone on before it was asked.
    assert said in ("redis_timeout", "redis_error", "")
    assert due.fetches() == ([1, 1] if said else [2, 2])
    assert due.healed_after() == 1
    assert due.fetches() == [2, 2]


@pytest.mark.parametrize("how", STILL)
def test_a_server_that_stands_still_under_a_fetch_costs_at_most_one_more(due: Job, how: str) -> None:
    report = due.tick_with(lambda: stand_still(due.world.redis, STILL[how]))
    goes_on(due.world.redis)
    assert codes_in(report) <= {"redis_timeout", "redis_error"}
    due.look()
    due.healed_after()
    assert sum(due.fetches()) <= 4 + 1


def want_replicas(server: RedisServer, count: int) -> None:
    server.client().config_set("min-replicas-to-write", count)


def test_a_primary_without_its_replicas_takes_no_writes_so_nothing_is_fetched(due: Job) -> None:
    want_replicas(due.world.redis, 1)
    requests = due.requests()
    report = due.tick()
    assert codes_in(report) == {"redis_error"}
    assert all("NOREPLICAS" in each.failure.message for each in report.targets if each.failure)
    assert due.requests() == requests
    want_replicas(due.world.redis, 0)
    assert due.healed_after() == 1
    assert due.fetches() == [2, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_primary_that_loses_its_replicas_under_a_fetch_costs_one_fetch_more(due: Job, kind: Kind) -> None:
    path = "/OAuth2/token" if kind is Kind.ACCESS_TOKEN else "/OAuth2/ticket"
    broken = of(due.tick_with(lambda: want_replicas(due.world.redis, 1), path), kind)
    assert broken.outcome is Outcome.LOST
    assert broken.failure
    assert "NOREPLICAS" in broken.failure.message
    want_replicas(due.world.redis, 0)
    due.look()
    due.healed_after()
    assert sum(due.fetches()) <= 4 + 1


# -- sentinels --------------------------------------------------------------------------------


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with Sentinels(plant("redis-password")) as sentinels:
        yield sentinels


@pytest.fixture
def start_scaled() -> Iterator[Callable[[str], ScaledJob]]:
    jobs: list[ScaledJob] = []

    def start(url: str) -> ScaledJob:
        jobs.append(ScaledJob(url))
        jobs[-1].tick()
        return jobs[-1]

    yield start
    for job in jobs:
        job.stop()


def force_spoiling(job: ScaledJob, name: str, when: str, spoil: Callable[[], object]) -> None:
    """A forced run in which something is done before or after one call to the store, about the ticket."""
    original: Any = getattr(job.refresher.store, name)

    def spoilt(first: Any, *arguments: Any, **more: Any) -> Any:
        about_it = TICKET in (first, getattr(first, "target", None))
        if about_it and when == "before":
            spoil()
        result = original(first, *arguments, **more)
        if about_it and when == "after":
            spoil()
        return result

    setattr(job.refresher.store, name, spoilt)
    with suppress(StoreError):
        job.refresher.run_once(Command(force=True))
    delattr(job.refresher.store, name)


@pytest.mark.parametrize(("name", "when"), [("acquire", "before"), ("finish", "after")])
def test_a_primary_killed_at_any_point_is_replaced_and_costs_one_fetch_more(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob], name: str, when: str
) -> None:
    job = start_scaled(sentinels.url)
    former = sentinels.primary
    force_spoiling(job, name, when, former.kill)
    sentinels.wait_promoted(former)
    wait_until("it heals", job.heals)
    # The natural fetch of both, and at most one of each for what the former primary took with it.
    assert job.fetches() <= 4 + 2


def test_a_primary_frozen_under_a_fetch_and_replaced_changes_nothing_when_it_thaws(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job = start_scaled(sentinels.url)
    former = sentinels.primary
    force_spoiling(job, "finish", "before", former.pause)
    sentinels.wait_promoted(former)
    wait_until("it heals", job.heals)
    fetches = job.fetches()
    former.resume()
    # What was sent to it while it stood still is carried out there, where nobody looks.
    for refresher in (job.refresher, job.instance()):
        job.refresher = refresher
        job.tick()
        assert job.healthy()
    assert job.fetches() == fetches <= 4 + 2


def test_sentinels_that_are_all_away_hold_everything_up_until_one_is_back(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job = start_scaled(sentinels.url)
    for sentinel in sentinels.sentinels:
        sentinel._process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError) as raised:
        job.refresher.run_once(Command(force=True))
    assert raised.value.code in ("redis_unreachable", "redis_timeout")
    assert job.fetches() == 2
    for sentinel in sentinels.sentinels:
        sentinel._process.send_signal(signal.SIGCONT)
    wait_until("it is read again", job.heals)
    assert job.fetches() <= 2 + LIFETIME_S // 2


# -- a cluster whose slots move -----------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(plant("redis-password")) as cluster:
        yield cluster


def test_a_slot_on_its_way_is_not_taken_for_an_empty_one_and_is_read_again_where_it_is_whole(
    cluster: Cluster, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job, keys = start_scaled(cluster.url), keys_of(TICKET)
    source = cluster.master_of(keys.value)
    sink = next(node for node in cluster.masters if node is not source)
    slot = key_slot(keys.value.encode())

    def move(key: str) -> None:
        command = ("MIGRATE", "127.0.0.1", sink.port, key, 0, 5000, "AUTH", sink.password)
        assert source.client().execute_command(*command) == b"OK"

    def words() -> list[str]:
        """What source and sink say to a script about all keys of the ticket."""
        said = []
        for node in (source, sink):
            with node.client(single_connection_client=True) as client:
                try:
                    client.execute_command("ASKING")
                    client.eval("return 1", 3, *keys)
                    said.append("")
                except redis.ResponseError as error:
                    said.append(type(error).__name__)
        return said

    def cannot_be_read() -> bool:
        report = job.refresher.run_once(Command(force=True, kinds=(Kind.JS_TICKET,)))
        (failure,) = [each.failure for each in report.targets]
        return failure is not None and failure.code == "redis_error"

    before = job.fetches()
    cluster.ask(sink, "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    cluster.ask(source, "SETSLOT", slot, "MIGRATING", cluster.id_of(sink))
    # Of the three keys one does not exist, which the source takes for moved, and the sink for still to come.
    assert words() == ["AskError", "TryAgainError"]
    assert cannot_be_read()
    move(keys.value)
    assert words() == ["AskError", "TryAgainError"]
    assert cannot_be_read()
    assert job.fetches() == before
    # A reader's complaint goes to the sink already. With all three there, the source is obeyed.
    move(keys.lease)
    with sink.client(single_connection_client=True) as client:
        client.execute_command("ASKING")
        client.set(keys.refused, "0" * 8, ex=60)
    assert words() == ["AskError", ""]
    assert job.healthy()
    assert not [each.failure for each in job.refresher.run_once(Command()).targets if each.failure]
    assert job.fetches() == before
    for node in (sink, source):
        cluster.ask(node, "SETSLOT", slot, "NODE", cluster.id_of(sink))
    assert words() == ["MovedError", ""]
    wait_until("it heals", job.heals)
    assert job.fetches() == before
    assert sink.client().exists(keys.value)


# -- readers of a replica that lags ---------------------------------------------------------------


@dataclass
class CachingReader:
    """A reader in some other language: GET on a replica, and the result kept for so long."""

    replica: Any
    kept_s: float
    read_at: float = float("-inf")
    code: dict[Kind, str | None] = field(default_factory=dict)

    def look(self, now: float) -> None:
        if now - self.read_at >= self.kept_s:
            self.read_at = now
            for kind, (key, member) in PUBLIC_KEY.items():
                value = self.replica.get(key.format(APP_ID))
                self.code[kind] = None if value is None else str(json.loads(value)[member])


@pytest.mark.parametrize(("lag_s", "kept_s", "good"), [(400, 60, True), (160, 300, True), (420, 300, False)], ids=str)
def test_readers_on_a_lagging_replica_hold_good_codes_while_lag_and_cache_are_within_the_grace(
    world: World, start_redis: Callable[..., RedisServer], lag_s: int, kept_s: int, good: bool
) -> None:
    """Less than 480 s together, which leaves two minutes of the grace. Beyond the grace it hurts: so it can fail."""
    deployment = Deployment(world)
    deployment.run()
    options = {"masterauth": world.redis.password, "repl-timeout": "100000", "repl-diskless-sync-delay": "0"}
    world.redis.client().config_set("repl-timeout", 100_000)
    with TcpProxy(world.redis.port) as link:
        replica = start_redis(options, password=world.redis.password, faketime=True, offset_s=world.redis.offset_s)
        client = replica.client()
        client.execute_command("REPLICAOF", "127.0.0.1", link.port)
        wait_until("the replica follows", lambda: client.info("replication")["master_link_status"] == "up")
        for server in (world.redis, replica):
            server.advance(5300)
        # However their caches are out of step.
        readers = [CachingReader(client, kept_s, world.now() - late_s) for late_s in range(0, kept_s, SAMPLE_S)]
        dead, looks = 0, 0
        for second in range(0, 1500, SAMPLE_S):
            # The renewal comes when 1800 s are left, at second 100.
            if second == 80:
                link.refuse()
            if second == 100 + lag_s:
                link.accept_again()
                wait_until("the replica follows again", lambda: world.redis.client().wait(1, 1000) == 1)
            if second % 60 == 0:
                deployment.run()
            for server in (world.redis, replica):
                server.advance(SAMPLE_S)
            for reader in readers:
                reader.look(world.now())
                for kind, code in reader.code.items():
                    looks += 1
                    dead += code is None or not deployment.simulator.valid(APP_ID, kind.value, code)
    assert looks
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (dead == 0) == good
    assert (deployment.dead, deployment.missing) == ([], 0)
