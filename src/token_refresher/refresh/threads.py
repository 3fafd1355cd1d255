"""Work on many applications at once, and what Ctrl-C makes of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_Each = TypeVar("_Each")


class _Begun:
    """What has begun; nothing more does once `close` was called."""

    def __init__(self) -> None:
        self.numbers = set[int]()
        self._ended = set[int]()
        self._changed = threading.Condition()
        self._closed = False

    def do(self, number: int, work: Callable[[], None]) -> None:
        with self._changed:
            if self._closed:
                return
            self.numbers.add(number)
        try:
            work()
        finally:
            with self._changed:
                self._ended.add(number)
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True

    def wait(self) -> None:
        """Until all that has begun has ended.

        To join the threads would not do: to Python before 3.13 one whose join was interrupted has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.numbers <= self._ended)


def in_threads(
    work: Callable[[_Each], None], each_of: Sequence[_Each], most: int, waits: Callable[[], None] | None = None
) -> None:
    """Do `work` for each, in the order given, with at most so many threads at once.

    After an interrupt (Ctrl-C) nothing more begins. With `waits`, which is called then, what has begun ends before this
    returns, so that a credential on its way is stored; another interrupt ends the wait.
    """
    if not each_of:
        return
    # Most runs find nothing due, and a cold start pays for every module.
    from concurrent.futures import ThreadPoolExecutor

    begun = _Begun()

    def begin(number: int) -> None:
        begun.do(number, lambda: work(each_of[number]))

    pool = ThreadPoolExecutor(min(most, len(each_of)))
    try:
        for number in range(len(each_of)):
            # Where no more threads can be started, those that there are do it, or else this one.
            with contextlib.suppress(RuntimeError):
                pool.submit(begin, number)
        pool.shutdown()
    except BaseException:
        begun.close()
        pool.shutdown(wait=False, cancel_futures=True)
        if waits:
            waits()
            begun.wait()
        raise
    for number, each in enumerate(each_of):
        if number not in begun.numbers:
            work(each)
