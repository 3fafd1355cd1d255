"""What an interrupt makes of work in threads."""

from __future__ import annotations

import signal
import threading

import pytest

from token_refresher.refresh.threads import in_threads

_WAIT_S = 30.0


@pytest.mark.parametrize("count", [1, 2])
def test_after_an_interrupt_what_has_begun_ends_before_the_run_leaves(count: int) -> None:
    at_work, interrupted, left = threading.Barrier(count + 1), threading.Event(), threading.Event()
    ended: list[int] = []

    def work(number: int) -> None:
        at_work.wait(_WAIT_S)
        interrupted.wait(_WAIT_S)
        # Time enough for a run that does not wait to leave.
        left.wait(0.1)
        ended.append(number)

    def interrupt(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def person() -> None:
        at_work.wait(_WAIT_S)
        # Again, where the first came just before the main thread began to wait: Python then hears of it only later.
        while not interrupted.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            interrupted.wait(0.1)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        thread = threading.Thread(target=person)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(count), 2, waits=lambda: None)
        assert sorted(ended) == list(range(count))
    finally:
        left.set()
        signal.signal(signal.SIGINT, before)
        thread.join()


def test_where_no_thread_can_be_started_all_is_done_by_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    done: list[tuple[int, int]] = []
    in_threads(lambda number: done.append((number, threading.get_ident())), range(3), 2)
    assert done == [(number, threading.get_ident()) for number in range(3)]
