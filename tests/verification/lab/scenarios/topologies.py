"""Redis as Sentinel and as a Cluster: failovers, with and without loss, dying nodes and moving slots."""

from __future__ import annotations

from verification.lab.places import ClusterPlace, SentinelPlace
from verification.lab.redis_troubles import UnderFetch
from verification.lab.scenario import MINUTE_S, At, Bounds, Due, Scenario
from verification.lab.topology_troubles import FailOver, NodeDies, SlotMoves, SwitchOver

# Both systems have to fetch within that time, and there is an hour left to heal.
_DURATION_S = 170 * MINUTE_S
# What was fetched and then lost is fetched again at the next tick.
_NEXT_TICK = Bounds(fetches=2, heal_s=130)
# The audit after: at most 240 s, a tick, and a run.
_AUDITED = Bounds(fetches=4, heal_s=330)

SCENARIOS = (
    Scenario(
        name="sentinel failover, nothing lost",
        sentence="The primary dies right after new credentials were stored, and the replica has them.",
        duration_s=_DURATION_S,
        troubles=(FailOver(start=Due()),),
        bounds=Bounds(heal_s=130),
        place=SentinelPlace,
    ),
    Scenario(
        name="sentinel failover, the last writes lost",
        sentence="The primary dies right after new credentials were stored, and the replica still has the old ones.",
        duration_s=_DURATION_S,
        troubles=(FailOver(start=Due(), loses=True),),
        bounds=_NEXT_TICK,
        place=SentinelPlace,
    ),
    Scenario(
        name="sentinel failover, forced credentials lost",
        sentence="Codes are forced in the middle of a life and lost: the replica's look good, and die in 10 min.",
        duration_s=_DURATION_S,
        troubles=(FailOver(start=At(3000), loses=True, forced=True),),
        bounds=_AUDITED,
        place=SentinelPlace,
    ),
    Scenario(
        name="sentinel switchover under a fetch",
        sentence="The replica takes over while a new ticket is under way; the former primary goes on for seconds.",
        duration_s=_DURATION_S,
        troubles=(UnderFetch(start=Due(), fault=SwitchOver(start=Due(), lasting_s=8)),),
        bounds=_AUDITED,
        place=SentinelPlace,
    ),
    Scenario(
        name="cluster, a node dies",
        sentence="The node with the ticket dies, and its replica takes over 2 min later.",
        duration_s=_DURATION_S,
        troubles=(NodeDies(start=Due(), lasting_s=2 * MINUTE_S),),
        bounds=Bounds(fetches=2, heal_s=200),
        # The cron pattern knows no cluster.
        baseline=False,
        place=ClusterPlace,
    ),
    Scenario(
        name="cluster, a slot moves",
        sentence="The ticket's slot moves to another node, and stands half moved for 10 min.",
        duration_s=_DURATION_S,
        troubles=(SlotMoves(start=Due(), lasting_s=10 * MINUTE_S),),
        bounds=Bounds(heal_s=130),
        baseline=False,
        place=ClusterPlace,
    ),
)
