"""The bounded part of the lab: one scenario for each kind of fault, which CI plays in a minute.

The full lab plays their brothers, too: other durations, points, words and numbers of applications, and whole days.
Sentinel and Cluster are left to it, and to the tests of topologies: they fail over in real time, not in the lab's.
"""

from __future__ import annotations

BOUNDED = (
    "all is well: an error page instead of the platform",
    "all is well: the platform issues 300 s",
    "answer: http 504, executed, 28 min",
    "answer: html, executed, 15 min",
    "answer: no answer, executed, once",
    "answer: status 4000, 28 min",
    "answer: expiry as a word, 28 min",
    "executed 119 s late",
    "platform down, 28 min",
    "six random hours, 1",
    "thrown away: the ticket is lost, then the token interface fails",
    "idle connections: reset at the next byte, 1 application",
    "idle connections: silently forgotten, our own Reader",
    "limits: fetches get 429 for 300 s, someone else refreshes",
    "limits: questions get 429 for 55 s, a run is killed",
    "many applications: one alone has two requests a minute",
    "many applications: 30 requests a minute, which it says in seconds",
    "superseded for ever: a gateway sends each fetch twice, the last answer counts",
    "certificate expired, 28 min",
    "somebody else refreshes every minute",
    "life cut to 400 s",
    "checkCode says yes to everything",
    "presumed dead: secret rotated softly, a fetch is due",
    "presumed dead: application disabled, with a word of limits",
    "presumed dead: checkCode refuses, that the address is not on the white list",
    "presumed dead: alone, killed after send, js_ticket",
    "presumed dead: alone, frozen 90 min after send",
    "presumed dead: killed under its lock while others fetch",
    "presumed dead: the library cut off from Redis over a refresh",
    "redis read-only, 28 min",
    "redis's clock +900 s, under a fetch",
    "sick copy: killed after its lease, 1 s earlier",
    "sick copy: forgotten at a rotation, softly, 1 s earlier",
    "another tool's value, outdated credentials",
    "unreadable value, a date, good credentials",
    "frozen 5 min after its last look, then killed",
    "killed before store",
    "four ticks missed, then all at once",
)
