"""One Redis server, and everything that may become of it, always when a fetch is due."""

from __future__ import annotations

from platform_simulator.credentials import ACCESS_TOKEN
from verification.lab.places import BehindWire, Impatient, Lasting, WrongRedisClock
from verification.lab.redis_troubles import (
    ClockOfRedis,
    Flushed,
    Full,
    Killed,
    Paused,
    ReadOnly,
    Restored,
    Stopped,
    UnderFetch,
)
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Due, Scenario
from verification.lab.wire_troubles import Refused, Slow

# Both systems have to fetch within that time, and there is an hour left to heal.
_DURATION_S = 170 * MINUTE_S
_FIVE_S = 5 * MINUTE_S
# A frozen server must not hold up a run; all else in the policy is as it is delivered.
_SHORT_WAITS = {"redis_timeout_s": 1.0}
# Nothing is lost, and the next tick does what is due; a loaded machine takes its time, too.
_NEXT_TICK = Bounds(heal_s=75)
# An attempt that could not be finished: the lock of 90 s, the tick after, and one fetch more of each kind.
_UNFINISHED = Bounds(fetches=2, heal_s=200)
# Redis is empty when it is back: no reader finds a credential until the next tick, at most 60 s, of either kind.
_EMPTY = Bounds(none_s=130, fetches=2, heal_s=130)
# Where there is no baseline: a plain client waits for a frozen server for as long as it is frozen.

SCENARIOS = (
    Scenario(
        name="redis stopped, 5 min",
        sentence="Redis is stopped for 5 min, saves and comes back.",
        duration_s=_DURATION_S,
        troubles=(Stopped(start=Due(), lasting_s=_FIVE_S),),
        bounds=_NEXT_TICK,
    ),
    Scenario(
        name="redis killed, with an append-only file",
        sentence="Redis is killed, and back after 5 min with all it had acknowledged.",
        duration_s=_DURATION_S,
        troubles=(Killed(start=Due(), lasting_s=_FIVE_S),),
        bounds=_NEXT_TICK,
        place=Lasting,
    ),
    Scenario(
        name="redis killed, without an append-only file",
        sentence="Redis is killed in the middle of the credentials' life, and back after 5 min with nothing.",
        duration_s=_DURATION_S,
        troubles=(Killed(start=At(3000), lasting_s=_FIVE_S),),
        bounds=_EMPTY,
    ),
    Scenario(
        name="redis killed under a fetch, with an append-only file",
        sentence="Redis is killed while a new ticket is under way, and back after 2 min with all it had acknowledged.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), fault=Killed(start=Due(), lasting_s=2 * MINUTE_S)),),
        bounds=_UNFINISHED,
        place=Lasting,
    ),
    Scenario(
        name="redis killed under a fetch, without an append-only file",
        sentence="Redis is killed while a new access_token is under way, and back after 2 min with nothing.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), kind=ACCESS_TOKEN, fault=Killed(start=Due(), lasting_s=2 * MINUTE_S)),),
        bounds=_EMPTY,
    ),
    Scenario(
        name="redis frozen, 5 min",
        sentence="Redis stands still for 5 min, with its connections open.",
        duration_s=_DURATION_S,
        troubles=(Paused(start=Due(), lasting_s=_FIVE_S),),
        # A command that it takes when it thaws may lock for a run that is over.
        bounds=_UNFINISHED,
        policy=_SHORT_WAITS,
        place=Impatient,
        baseline=False,
    ),
    Scenario(
        name="redis frozen under a fetch",
        sentence="Redis stands still for 2 min while a new ticket is under way.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), fault=Paused(start=Due(), lasting_s=2 * MINUTE_S)),),
        bounds=_UNFINISHED,
        policy=_SHORT_WAITS,
        place=Impatient,
        baseline=False,
    ),
    Scenario(
        name="redis read-only, 28 min",
        sentence="Redis takes no writes for 28 min, as a replica.",
        duration_s=_DURATION_S,
        troubles=(ReadOnly(start=Due(), lasting_s=28 * MINUTE_S),),
        bounds=_NEXT_TICK,
    ),
    Scenario(
        name="redis read-only under a fetch",
        sentence="Redis becomes a replica for 5 min while a new ticket is under way.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), fault=ReadOnly(start=Due(), lasting_s=_FIVE_S)),),
        bounds=_UNFINISHED,
    ),
    Scenario(
        name="redis out of memory, 28 min",
        sentence="Redis is over its maxmemory for 28 min. What was fetched is stored all the same.",
        duration_s=_DURATION_S,
        troubles=(Full(start=Due(), lasting_s=28 * MINUTE_S),),
        bounds=_NEXT_TICK,
    ),
    Scenario(
        name="redis flushed",
        sentence="All keys are gone, in the middle of the credentials' life.",
        duration_s=_DURATION_S,
        troubles=(Flushed(start=At(3010)),),
        bounds=_EMPTY,
    ),
    Scenario(
        name="redis flushed under a fetch",
        sentence="All keys are gone while a new ticket is under way.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), fault=Flushed(start=Due())),),
        # The ticket is stored although nothing is known of its lease; the token is missing until the next tick.
        bounds=_EMPTY,
    ),
    Scenario(
        name="redis restored from a snapshot",
        sentence="Codes are forced in the middle of a life, and Redis comes back with those from before.",
        duration_s=_DURATION_S,
        troubles=(Restored(start=At(3010)),),
        # The audit after: at most 240 s, a tick, and a run.
        bounds=Bounds(fetches=4, heal_s=330),
    ),
    Scenario(
        name="redis slow by 2 s",
        sentence="Every answer of Redis takes 2 s, for 6 min.",
        duration_s=_DURATION_S,
        troubles=(Slow(start=Due(), delay_s=2.0, lasting_s=6 * MINUTE_S),),
        bounds=_NEXT_TICK,
        place=BehindWire,
    ),
    *(
        Scenario(
            name=f"redis's clock {ahead_s:+d} s, 1 h",
            sentence=f"Redis's clock alone is {ahead_s:+d} s wrong for an hour, with a fetch in it, then right again.",
            duration_s=_DURATION_S,
            troubles=(ClockOfRedis(start=At(3000), ahead_s=ahead_s, lasting_s=HOUR_S),),
            bounds=Bounds(fetches=4, heal_s=330),
            place=WrongRedisClock,
        )
        for ahead_s in (600, -600)
    ),
    *(
        Scenario(
            name=f"redis's clock {ahead_s:+d} s, under a fetch",
            sentence=f"Redis's clock jumps by {ahead_s:+d} s while a new ticket is under way, and back 30 min later.",
            duration_s=_DURATION_S,
            troubles=(UnderFetch(start=Due(), fault=ClockOfRedis(start=Due(), ahead_s=ahead_s, lasting_s=HOUR_S / 2)),),
            # A clock that jumps ahead ends the TTL that is cut while a fetch is out: none is left until the next run.
            bounds=Bounds(none_s=60 if ahead_s > 0 else 0, fetches=6, heal_s=330),
            place=WrongRedisClock,
        )
        for ahead_s in (900, -900)
    ),
    Scenario(
        name="redis's clock a day ahead, for a minute",
        sentence="Redis's clock jumps a day ahead, so that everything in it expires, and back a minute later.",
        duration_s=_DURATION_S,
        troubles=(ClockOfRedis(start=At(3010), ahead_s=86400, lasting_s=MINUTE_S),),
        # What was stored under the wrong clock is found to be impossible at the tick after.
        bounds=Bounds(none_s=250, fetches=4, heal_s=330),
        place=WrongRedisClock,
    ),
    Scenario(
        name="redis away for 40 min",
        sentence="No connection to Redis comes about for 40 min, longer than the margin.",
        duration_s=_DURATION_S,
        troubles=(Refused(start=Due(), lasting_s=40 * MINUTE_S),),
        outside="no healthy run for longer than the margin of 30 min",
        # Both credentials are missing from their end to the next tick after it is over; none is ever refused.
        bounds=Bounds(none_s=2 * 13 * MINUTE_S, heal_s=75),
        place=BehindWire,
    ),
)
