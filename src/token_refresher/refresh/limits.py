"""What a process remembers of the platforms' limits, and of a checkCode that is silent.

What one interface, one application or one platform said is never taken for the word of another.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from token_refresher.domain.addresses import PlatformUrl
from token_refresher.domain.model import App, Kind

# So many applications that are limited in a row, and a platform may limit all of them.
_IN_A_ROW = 2
# So many others then try, one after the other, before all pause (s), each time for twice as long: one that is limited
# by itself must not keep others from their credentials, and a platform that limits all is not to be asked by all.
_TRIES, _PAUSE_S = 5, 5.0
_LONGEST_POWER = 10
# How long (s) it is remembered who was limited, after the limit is over.
_REMEMBERED_S = 600.0
# For so long (s) after their limits two applications still show that a platform limits all fetches: the last one that
# it limits is no exception. One that was limited so often in a row has a limit of its own, and shows nothing.
_SHOWS_S, _OF_ITS_OWN = 60.0, 3
_QUESTIONS = "checkCode"


class Interface(NamedTuple):
    """One interface of one platform, which is known by scheme, host and port."""

    platform: str
    name: str


def fetching(app: App, kind: Kind) -> Interface:
    """The interface that gives out credentials of this kind to this application."""
    url = app.endpoints.token_url if kind is Kind.ACCESS_TOKEN else app.endpoints.ticket_url
    return Interface(_origin(url), kind.value)


def asking(app: App) -> Interface:
    """The checkCode of this application."""
    return Interface(_origin(app.endpoints.check_code_url), _QUESTIONS)


def _origin(url: PlatformUrl) -> str:
    return f"{url.scheme}://{url.host}".lower()


@dataclass
class _Held:
    """The limits of one interface. Instants are of the steady clock.

    `until` is the end of each application's own limit, `again` how often those were limited of which no request got
    through since, and `row` those that were limited since the request of any got through. `trying` is the one that
    tries for all ("": none), `tries` of such were limited, one after the other.
    """

    until: dict[str, float] = field(default_factory=dict)
    again: Counter[str] = field(default_factory=Counter)
    row: set[str] = field(default_factory=set)
    trying: str = ""
    tries: int = 0
    paused_until: float = 0.0

    def limited(self, now: float) -> set[str]:
        """Those in the row whose limits have not ended yet."""
        return {app_id for app_id in self.row if self.until[app_id] > now}

    def lately(self, now: float) -> set[str]:
        """Those that were limited a short while ago, without those that have a limit of their own."""
        just = (app_id for app_id, until in self.until.items() if until > now - _SHOWS_S)
        return {app_id for app_id in just if self.again[app_id] < _OF_ITS_OWN}

    def forget(self, now: float) -> None:
        """Drop what is long over."""
        self.until = {app_id: until for app_id, until in self.until.items() if until > now - _REMEMBERED_S}
        self.again = Counter({app_id: times for app_id, times in self.again.items() if app_id in self.until})
        self.row &= self.until.keys()


@dataclass
class _Lost:
    """The time of a run in which one thread at least waited for an answer that did not come (s)."""

    seconds: float = 0.0
    counted_until: float = 0.0


class Limits:
    """Who may send a request, and when. `clock` is steady (seconds); several threads may ask at once.

    A limit holds back the application that met it, at the interface where it did. When several in a row were limited
    there, and no request of another one got through, others go on one at a time: the first that gets through lets all
    go on, and the more are limited, the longer all pause.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._held: defaultdict[Interface, _Held] = defaultdict(_Held)
        self._crowded: set[str] = set()
        self._lost: defaultdict[tuple[Interface, bool], _Lost] = defaultdict(_Lost)

    def begin(self) -> None:
        """A new run: each checkCode gets another chance, and limits that are long over are forgotten."""
        with self._changed:
            self._lost.clear()
            self._crowded.clear()
            for held in self._held.values():
                held.forget(self._clock())

    # -- limits ------------------------------------------------------------------------------

    @contextmanager
    def turn(self, interface: Interface, app_id: str) -> Iterator[float]:
        """Seconds until the application may send a request here; 0: within this context it may.

        Waits for the end of the request of another one that tries for all.
        """
        with self._changed:
            held = self._held[interface]
            while (wait_s := self._wait_s(held, app_id)) is None:
                self._changed.wait()
            tries = not wait_s and len(held.limited(self._clock())) >= _IN_A_ROW
            if tries:
                held.trying = app_id
        try:
            yield wait_s
        finally:
            if tries:
                self._tried(held, app_id)

    def _wait_s(self, held: _Held, app_id: str) -> float | None:
        """None: another one tries for all."""
        now = self._clock()
        own_s = held.until.get(app_id, 0.0) - now
        if own_s > 0:
            return own_s
        if len(held.limited(now)) < _IN_A_ROW:
            return 0.0
        if held.paused_until > now:
            return held.paused_until - now
        return None if held.trying else 0.0

    def _tried(self, held: _Held, app_id: str) -> None:
        with self._changed:
            if held.trying == app_id:
                held.trying = ""
            self._changed.notify_all()

    def limited(self, interface: Interface, app_id: str, wait_s: float) -> None:
        """The platform limited a request of this application; the next one may be sent after `wait_s` (duration)."""
        with self._changed:
            held, now = self._held[interface], self._clock()
            held.until[app_id] = max(held.until.get(app_id, 0.0), now + wait_s)
            held.again[app_id] += 1
            held.row.add(app_id)
            if held.trying == app_id:
                held.tries += 1
                pause_s = _PAUSE_S * 2 ** min(held.tries - _TRIES, _LONGEST_POWER) if held.tries >= _TRIES else 0.0
                held.paused_until = min([now + pause_s, *(held.until[each] for each in held.limited(now))])
                self._tried(held, app_id)

    def again(self, interface: Interface, app_id: str) -> bool:
        """Whether the last request of this application was limited."""
        with self._changed:
            return app_id in self._held[interface].again

    def several(self, interface: Interface) -> bool:
        """Whether several are, or just were, limited at this platform: then its limit is not this application's."""
        with self._changed:
            now = self._clock()
            here = {other.name: held for other, held in self._held.items() if other.platform == interface.platform}
            found = set[str]().union(*(held.limited(now) for held in here.values()))
            # Questions are many: there, some application may meet a limit of its own at any time.
            found.update(*(held.lately(now) for name, held in here.items() if name != _QUESTIONS))
            return len(found) >= _IN_A_ROW

    def crowd(self, interface: Interface) -> None:
        """A fetch waits in this run for the end of a limit: audits at that platform come after it."""
        with self._changed:
            self._crowded.add(interface.platform)

    def crowded(self, interface: Interface) -> bool:
        """Whether a fetch at that platform waits in this run for the end of a limit."""
        with self._changed:
            return interface.platform in self._crowded

    def passed(self, interface: Interface, app_id: str) -> None:
        """A request of this application got through: whatever came of it, it was not limited."""
        with self._changed:
            held = self._held[interface]
            del held.again[app_id]
            held.row.clear()
            held.trying, held.tries, held.paused_until = "", 0, 0.0
            self._changed.notify_all()

    # -- silence -----------------------------------------------------------------------------

    def answered(self, interface: Interface, in_vain: bool) -> None:
        """checkCode answered a question; `in_vain` says whether the last one about the same target had no answer."""
        with self._changed:
            self._lost.pop((interface, False), None)
            if in_vain:
                self._lost.pop((interface, True), None)

    def unanswered(self, interface: Interface, in_vain: bool, began_at: float) -> None:
        """checkCode did not answer, or could not be reached, since `began_at` (instant)."""
        with self._changed:
            lost, now = self._lost[interface, in_vain], self._clock()
            lost.seconds += max(now - max(began_at, lost.counted_until), 0.0)
            lost.counted_until = now

    def silent(self, interface: Interface, in_vain: bool, enough_s: float) -> bool:
        """Whether so much time was lost (duration) that no more questions are to be sent in this run.

        It counts since the last answer. What was asked in vain before counts by itself: it says nothing new about the
        others.
        """
        with self._changed:
            return self._lost[interface, in_vain].seconds >= enough_s
