"""AsyncReader beyond the contract in test_reader: cancellation, and what the loop must not wait for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis

from platform_simulator import Simulator
from support.redis_server import RedisServer
from support.tcp_proxy import Act, TcpProxy
from token_refresher import AsyncReader
from token_refresher.domain.model import Kind, Target, fingerprint
from token_refresher.store.keys import keys_of

APP = "app0000"
TICKET = Kind.JS_TICKET
KEYS = keys_of(Target(APP, TICKET))
# Only a bug makes a test wait this long (seconds).
WAIT_S = 60.0


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def code(redis_server: RedisServer, simulator: Simulator) -> str:
    """A stored credential."""
    code = simulator.issue(APP, TICKET.value).code
    value = {"js_ticket": code, "expires_in": int(redis_server.now()) + 7200}
    redis_server.client().set(KEYS.value, json.dumps(value), ex=7200)
    return code


def within(url: str, story: Callable[[AsyncReader], Awaitable[None]], **options: Any) -> list[str]:
    """Run a story in a loop of its own; what the loop complained of."""
    complaints: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        async with AsyncReader.from_url(url, **options) as reader:
            await asyncio.wait_for(story(reader), WAIT_S)

    asyncio.run(main())
    return complaints


async def reached(event: threading.Event) -> None:
    """Wait for what happens in a thread, without standing in the loop's way."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


def test_a_task_that_is_cancelled_leaves_its_read_to_the_others(proxy: TcpProxy, code: str) -> None:
    held = proxy.script(Act.HOLD, b"GET")

    async def story(reader: AsyncReader) -> None:
        first = asyncio.create_task(reader.js_ticket(APP))
        await reached(held.reached)
        second = asyncio.create_task(reader.js_ticket(APP))
        await asyncio.sleep(0)
        first.cancel()
        held.release()
        assert await second == code
        with pytest.raises(asyncio.CancelledError):
            await first

    assert within(proxy.url(), story, timeout_s=WAIT_S) == []
    assert proxy.commands == 1


def test_a_failed_read_that_nobody_waits_for_any_more_troubles_nobody(proxy: TcpProxy) -> None:
    held = proxy.script(Act.HOLD, b"GET")

    async def story(reader: AsyncReader) -> None:
        only = asyncio.create_task(reader.js_ticket(APP))
        await reached(held.reached)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)
        held.release()
        # Whoever comes next joins that read, or makes one: by then the first is over in both cases.
        await asyncio.gather(reader.js_ticket(APP), return_exceptions=True)

    assert within(proxy.url(), story, timeout_s=WAIT_S) == []


def test_other_tasks_run_while_redis_is_waited_for(proxy: TcpProxy, code: str) -> None:
    held = proxy.script(Act.HOLD_REPLY, b"GET")

    async def story(reader: AsyncReader) -> None:
        read = asyncio.create_task(reader.js_ticket(APP))
        await reached(held.reached)
        assert not read.done()
        held.release()
        assert await read == code

    within(proxy.url(), story, timeout_s=WAIT_S)


def test_nothing_is_written_to_a_connection_that_the_loop_knows_to_be_lost(
    redis_server: RedisServer, code: str
) -> None:
    async def story(reader: AsyncReader) -> None:
        await reader.js_ticket(APP)
        (connection,) = reader._client.connection_pool._available_connections
        lost = connection._writer.transport
        lost.abort()
        # In the same turn of the loop: the pool, which looks at a connection before it lends it, found it well.
        await connection.send_command("PING")
        assert lost.get_write_buffer_size() == 0
        assert await connection.read_response() == b"PONG"

    assert within(redis_server.url, story, timeout_s=WAIT_S) == []


def test_nothing_is_written_to_a_connection_that_is_lost_during_its_login(redis_server: RedisServer, code: str) -> None:
    async def story(reader: AsyncReader) -> None:
        await reader.js_ticket(APP)
        (connection,) = reader._client.connection_pool._available_connections
        await connection.disconnect()
        dialed = []

        async def lost_then_login(connection: Any) -> None:
            dialed.append(connection._writer.transport)
            dialed[0].abort()
            await connection.on_connect()

        connection.client_name = "what the login has to send"
        connection.redis_connect_func = lost_then_login
        with pytest.raises(redis.ConnectionError, match="was lost"):
            await connection.connect()
        assert dialed[0].get_write_buffer_size() == 0

    assert within(redis_server.url, story, timeout_s=WAIT_S) == []


def test_an_invoker_may_be_a_coroutine_function(redis_server: RedisServer, code: str) -> None:
    woken = []

    async def invoker(app_id: str, kind: str) -> None:
        await asyncio.sleep(0)
        woken.append((app_id, kind))

    async def story(reader: AsyncReader) -> None:
        assert await reader.report_rejected(APP, TICKET, code) is None

    within(redis_server.url, story, on_rejected=invoker)
    assert woken == [(APP, "js_ticket")]


def test_a_coroutine_invoker_that_fails_breaks_no_caller(
    redis_server: RedisServer, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def invoker(app_id: str, kind: str) -> None:
        raise TimeoutError("words of others")

    async def story(reader: AsyncReader) -> None:
        assert await reader.report_rejected(APP, TICKET, code) is None

    within(redis_server.url, story, on_rejected=invoker)
    assert "could not be started at once: TimeoutError" in caplog.text
    assert "words of others" not in caplog.text
    assert redis_server.client().get(KEYS.refused) == fingerprint(code).encode()


def test_a_plain_invoker_that_waits_for_the_network_does_not_hold_up_the_loop(
    redis_server: RedisServer, code: str
) -> None:
    began, go = threading.Event(), threading.Event()

    def invoker(app_id: str, kind: str) -> None:
        began.set()
        assert go.wait(WAIT_S)

    async def story(reader: AsyncReader) -> None:
        complaint = asyncio.create_task(reader.report_rejected(APP, TICKET, code))
        await reached(began)
        assert not complaint.done()
        assert await reader.js_ticket(APP) == code
        go.set()
        assert await complaint is None

    within(redis_server.url, story, on_rejected=invoker)


def test_a_reader_made_before_the_loop_serves_in_it(redis_server: RedisServer, code: str) -> None:
    reader = AsyncReader.from_url(redis_server.url)

    async def main() -> str:
        try:
            return await reader.js_ticket(APP)
        finally:
            await reader.close()

    assert asyncio.run(main()) == code
