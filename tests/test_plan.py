"""What is due and why: every reason, what goes before what, and every boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from token_refresher.model import Action, Command, Kind, Lease, Record, Snapshot, Target, Unreadable
from token_refresher.plan import (
    Condemned,
    Reason,
    Verdict,
    as_before,
    at_work,
    decide,
    retry_delay_s,
    superseded,
)
from token_refresher.policy import Policy
from token_refresher.selection import in_shard, tokens_for, wanted

POLICY = Policy()
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
NOW_S = 1_700_000_000
NOW = NOW_S * 1000

# Examples are small; only a loaded machine is ever slow with them.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD = Record("GqF3xW", expires_at=NOW_S + 7000, issued_at=NOW_S - 200, fence=7)
SETTLED = Lease(exists=True, fence=7, audited_at=NOW - 200_000, outcome="issued", outcome_at=NOW - 200_000)
REFRESH, FORCE, AUDIT = Command(), Command(force=True), Command(Action.AUDIT)
UNREADABLE = Unreadable("not JSON")


def seen(
    record: Record | Unreadable | None = GOOD, lease: Lease = SETTLED, *, complaint: str | None = None
) -> Snapshot:
    return Snapshot(TARGET, NOW, record, lease, complaint=complaint)


def leased(**fields: Any) -> Lease:
    return replace(SETTLED, **fields)


def left(seconds: int, **fields: Any) -> Record:
    return replace(GOOD, expires_at=NOW_S + seconds, **fields)


def aged(seconds: int) -> Record:
    return replace(GOOD, issued_at=NOW_S - seconds)


class Case(NamedTuple):
    snapshot: Snapshot
    reason: Reason
    ask: bool = False
    command: Command = REFRESH
    policy: Policy = POLICY


DECISIONS = {
    # the twelve reasons
    "nothing stored is MISSING": Case(seen(None), Reason.MISSING),
    "nothing stored and nothing known is MISSING": Case(seen(None, Lease()), Reason.MISSING),
    "a value of no use is UNREADABLE": Case(seen(UNREADABLE), Reason.UNREADABLE),
    "a code past its end is EXPIRED": Case(seen(left(-5)), Reason.EXPIRED),
    "a fetch without a definite end leaves it UNSETTLED: ask first": Case(
        seen(lease=leased(unsettled_since=NOW - 1)), Reason.UNSETTLED, ask=True
    ),
    "a code of unknown origin is UNSETTLED: ask first": Case(seen(GOOD, Lease()), Reason.UNSETTLED, ask=True),
    "a reader's complaint about the stored code is REFUSED: ask first": Case(
        seen(complaint=GOOD.fingerprint), Reason.REFUSED, ask=True
    ),
    "a code with little life left is NEAR_EXPIRY": Case(seen(left(1000)), Reason.NEAR_EXPIRY),
    "a good code asked for by hand is FORCED": Case(seen(), Reason.FORCED, command=FORCE),
    "a lease that is held is LOCKED": Case(seen(lease=leased(locked_until=NOW + 40_000)), Reason.LOCKED),
    "a definite no a moment ago is BACKING_OFF": Case(seen(None, leased(retry_at=NOW + 10_000)), Reason.BACKING_OFF),
    "a code just issued is COOLING_DOWN, even by hand": Case(seen(aged(5)), Reason.COOLING_DOWN, command=FORCE),
    "a good code is FRESH": Case(seen(), Reason.FRESH),
    # the margin
    "exactly the margin left is FRESH": Case(seen(left(1800)), Reason.FRESH),
    "a second less than the margin is NEAR_EXPIRY": Case(seen(left(1799)), Reason.NEAR_EXPIRY),
    # the expiry
    "one second left is NEAR_EXPIRY": Case(seen(left(1)), Reason.NEAR_EXPIRY),
    "at its expiry a code is EXPIRED": Case(seen(left(0)), Reason.EXPIRED),
    # the lock
    "a millisecond before the lock's end it is LOCKED": Case(seen(None, leased(locked_until=NOW + 1)), Reason.LOCKED),
    "half a second after the lock's end it is over": Case(seen(None, leased(locked_until=NOW - 500)), Reason.MISSING),
    "at the lock's end it is over": Case(seen(None, leased(locked_until=NOW)), Reason.MISSING),
    "a lock as long as a fresh one is LOCKED": Case(seen(None, leased(locked_until=NOW + 90_000)), Reason.LOCKED),
    "a lock further ahead than a fresh one can be is over": Case(
        seen(None, leased(locked_until=NOW + 90_001)), Reason.MISSING
    ),
    "a lock ages ahead is over": Case(seen(lease=leased(locked_until=10**15)), Reason.FRESH),
    "working time alone locks nothing": Case(seen(None, leased(work_until=NOW + 9_000)), Reason.MISSING),
    # the back-off
    "a millisecond before the next attempt it is BACKING_OFF": Case(
        seen(left(900), leased(retry_at=NOW + 1)), Reason.BACKING_OFF
    ),
    "at the time of the next attempt it is due": Case(seen(left(900), leased(retry_at=NOW)), Reason.NEAR_EXPIRY),
    "the longest wait with the largest jitter is BACKING_OFF": Case(
        seen(None, leased(retry_at=NOW + 330_000)), Reason.BACKING_OFF
    ),
    "a wait longer than any that is set is over": Case(seen(None, leased(retry_at=NOW + 360_001)), Reason.MISSING),
    "an expired code waits too": Case(seen(left(-9), leased(retry_at=NOW + 9_000)), Reason.BACKING_OFF),
    "an unreadable value waits too": Case(seen(UNREADABLE, leased(retry_at=NOW + 9_000)), Reason.BACKING_OFF),
    "a complaint waits too": Case(
        seen(lease=leased(retry_at=NOW + 9_000), complaint=GOOD.fingerprint), Reason.BACKING_OFF
    ),
    "a live code that may be superseded does not wait": Case(
        seen(lease=leased(unsettled_since=1, retry_at=NOW + 9_000)), Reason.UNSETTLED, ask=True
    ),
    "by hand there is no waiting": Case(seen(None, leased(retry_at=NOW + 9_000)), Reason.MISSING, command=FORCE),
    "a wait does not make a good code due": Case(seen(lease=leased(retry_at=NOW + 9_000)), Reason.FRESH),
    # the age of the code
    "a second before the end of cooling down": Case(seen(aged(29)), Reason.COOLING_DOWN, command=FORCE),
    "at the end of cooling down": Case(seen(aged(30)), Reason.FORCED, command=FORCE),
    "issued this very second": Case(seen(aged(0)), Reason.COOLING_DOWN, command=FORCE),
    "an issue in the future has no age": Case(seen(aged(-500)), Reason.FORCED, command=FORCE),
    "a code of another tool has no age": Case(seen(replace(GOOD, issued_at=None)), Reason.FORCED, command=FORCE),
    "cooling down goes before backing off": Case(
        seen(left(900, issued_at=NOW_S - 5), leased(retry_at=NOW + 9_000)), Reason.COOLING_DOWN
    ),
    "an expired code does not cool down": Case(seen(left(-1, issued_at=NOW_S - 5)), Reason.EXPIRED),
    "a young and good code is simply FRESH": Case(seen(aged(5)), Reason.FRESH),
    # complaints
    "a complaint about another code is none": Case(seen(complaint="00000000"), Reason.FRESH),
    "a complaint right after a question has to wait": Case(
        seen(lease=leased(audited_at=NOW - 59_999), complaint=GOOD.fingerprint), Reason.FRESH
    ),
    "a complaint a minute after a question is heard": Case(
        seen(lease=leased(audited_at=NOW - 60_000), complaint=GOOD.fingerprint), Reason.REFUSED, ask=True
    ),
    "a complaint at the instant of a question has to wait": Case(
        seen(lease=leased(audited_at=NOW), complaint=GOOD.fingerprint), Reason.FRESH
    ),
    "a question in the future silences no complaint": Case(
        seen(lease=leased(audited_at=NOW + 9_000), complaint=GOOD.fingerprint), Reason.REFUSED, ask=True
    ),
    "nor does one that is a millisecond ahead": Case(
        seen(lease=leased(audited_at=NOW + 1), complaint=GOOD.fingerprint), Reason.REFUSED, ask=True
    ),
    "a complaint about an expired code changes nothing": Case(
        seen(left(-1), complaint=GOOD.fingerprint), Reason.EXPIRED
    ),
    # an expiry that no code can have
    "an expiry as far ahead as a code can live is FRESH": Case(seen(left(7260)), Reason.FRESH),
    "one further ahead is UNSETTLED: ask first": Case(seen(left(7261)), Reason.UNSETTLED, ask=True),
    # the audit of what looks fresh
    "no audit at the instant of one": Case(seen(lease=leased(audited_at=NOW)), Reason.FRESH),
    "no audit before its time": Case(seen(lease=leased(audited_at=NOW - 239_999)), Reason.FRESH),
    "an audit when its time has come": Case(seen(lease=leased(audited_at=NOW - 240_000)), Reason.FRESH, ask=True),
    "an audit in the future calls for one now": Case(
        seen(lease=leased(audited_at=NOW + 1_000)), Reason.FRESH, ask=True
    ),
    "never audited: ask": Case(seen(lease=leased(audited_at=0)), Reason.FRESH, ask=True),
    "an audit by command comes at once": Case(seen(), Reason.FRESH, ask=True, command=AUDIT),
    "a code of nine seconds is not audited": Case(seen(aged(9), leased(audited_at=0)), Reason.FRESH, command=AUDIT),
    "a code of ten seconds is audited": Case(seen(aged(10)), Reason.FRESH, ask=True, command=AUDIT),
    "with the audit off nobody asks about a fresh code": Case(
        seen(lease=leased(audited_at=0)), Reason.FRESH, policy=Policy(audit_interval_s=0)
    ),
    "with the audit off one by command is still made": Case(
        seen(), Reason.FRESH, ask=True, command=AUDIT, policy=Policy(audit_interval_s=0)
    ),
    "with the audit off an unsettled one is still asked about": Case(
        seen(GOOD, Lease()), Reason.UNSETTLED, ask=True, policy=Policy(audit_interval_s=0)
    ),
}


@pytest.mark.parametrize("sentence", DECISIONS)
def test_decide(sentence: str) -> None:
    case = DECISIONS[sentence]
    step = decide(case.snapshot, case.policy, case.command)
    assert (step.reason, step.ask) == (case.reason, case.ask)
    assert step.target == TARGET
    assert step.due is case.reason.due
    assert step.sentence
    assert GOOD.code not in step.sentence


def test_every_reason_but_the_platform_s_own_is_reached_by_a_table_row() -> None:
    assert {case.reason for case in DECISIONS.values()} == set(Reason) - {Reason.SUPERSEDED, Reason.NOT_READ}


def test_exactly_five_reasons_are_not_due() -> None:
    names = {reason.value for reason in Reason if not reason.due}
    assert names == {"LOCKED", "BACKING_OFF", "COOLING_DOWN", "NOT_READ", "FRESH"}


def test_every_reason_has_a_meaning_of_its_own() -> None:
    assert len({reason.meaning for reason in Reason}) == len(Reason)
    assert Reason.FRESH.meaning == "nothing to do"


SENTENCES = {
    "which attempt it waits after": (
        seen(None, leased(retry_at=NOW + 9_000, outcome="refused: no_permission")),
        "MISSING, but waits 9 s after: refused: no_permission",
    ),
    "that it waits after one that says nothing": (
        seen(None, leased(retry_at=NOW + 9_000, outcome="")),
        "MISSING, but waits 9 s after: an earlier attempt",
    ),
    "that an attempt had no end": (
        seen(lease=leased(unsettled_since=NOW - 1)),
        "an earlier attempt had no definite end: a newer code may exist",
    ),
    "that nothing is known": (seen(GOOD, Lease()), "nothing is known of how the code came here"),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_the_sentence_says(what: str) -> None:
    snapshot, sentence = SENTENCES[what]
    assert decide(snapshot, POLICY, REFRESH).sentence == sentence


# -- what goes before what -------------------------------------------------------------------

_FLAWS: tuple[tuple[Reason, Callable[[Snapshot, Command], tuple[Snapshot, Command]]], ...] = (
    (
        Reason.LOCKED,
        lambda seen, command: (replace(seen, lease=replace(seen.lease, locked_until=NOW + 1)), command),
    ),
    (Reason.MISSING, lambda seen, command: (replace(seen, record=None), command)),
    (
        Reason.UNSETTLED,
        lambda seen, command: (replace(seen, lease=replace(seen.lease, unsettled_since=9)), command),
    ),
    (
        Reason.REFUSED,
        lambda seen, command: (replace(seen, complaint=GOOD.fingerprint), command),
    ),
    (Reason.NEAR_EXPIRY, lambda seen, command: (replace(seen, record=left(100)), command)),
    (Reason.FORCED, lambda seen, command: (seen, replace(command, force=True))),
)


@pytest.mark.parametrize("first", range(len(_FLAWS)), ids=[reason.value for reason, _ in _FLAWS])
def test_of_several_flaws_the_first_in_order_is_the_reason(first: int) -> None:
    snapshot, command = seen(), REFRESH
    for _, spoil in reversed(_FLAWS[first:]):
        snapshot, command = spoil(snapshot, command)
    assert decide(snapshot, POLICY, command).reason is _FLAWS[first][0]


def test_unreadable_and_expired_stand_where_missing_does() -> None:
    lease = leased(unsettled_since=9)
    for record, reason in ((UNREADABLE, Reason.UNREADABLE), (left(-1), Reason.EXPIRED)):
        assert decide(seen(record, lease), POLICY, FORCE).reason is reason
        locked = replace(lease, locked_until=NOW + 1)
        assert decide(seen(record, locked), POLICY, FORCE).reason is Reason.LOCKED


# -- what the platform said of a code --------------------------------------------------------

SUPERSEDED = Condemned(GOOD.fingerprint, Verdict(Reason.SUPERSEDED, "a newer one exists"))

CONDEMNED = {
    "a good code that is superseded is due": (seen(), Reason.SUPERSEDED),
    "it does not cool down": (seen(aged(1)), Reason.SUPERSEDED),
    "it does not back off": (seen(lease=leased(retry_at=NOW + 9_000)), Reason.SUPERSEDED),
    "but it waits for another's lease": (seen(lease=leased(locked_until=NOW + 9_000)), Reason.LOCKED),
    "another code meanwhile is none of it": (seen(replace(GOOD, code="a newer code")), Reason.FRESH),
    "an expired one is EXPIRED": (seen(left(-1)), Reason.EXPIRED),
    "one that is gone is MISSING": (seen(None), Reason.MISSING),
}


@pytest.mark.parametrize("sentence", CONDEMNED)
def test_a_condemned_code(sentence: str) -> None:
    snapshot, reason = CONDEMNED[sentence]
    step = decide(snapshot, POLICY, REFRESH, SUPERSEDED)
    assert (step.reason, step.ask) == (reason, False)


def test_at_once_leaves_out_the_back_off_and_nothing_else() -> None:
    waits = seen(None, leased(retry_at=NOW + 9_000))
    assert decide(waits, POLICY, REFRESH, at_once=True).reason is Reason.MISSING
    locked = seen(None, leased(locked_until=NOW + 9_000))
    assert decide(locked, POLICY, REFRESH, at_once=True).reason is Reason.LOCKED
    cooling = seen(left(900, issued_at=NOW_S - 5))
    assert decide(cooling, POLICY, REFRESH, at_once=True).reason is Reason.COOLING_DOWN


# -- whatever Redis holds --------------------------------------------------------------------

_instants = st.one_of(
    st.just(0), st.integers(NOW - 400_000, NOW + 400_000), st.integers(0, 10**15), st.integers(0, 2**53)
)
_leases = st.builds(
    Lease,
    exists=st.booleans(),
    attempt=st.text(max_size=4),
    fence=_instants,
    work_until=_instants,
    locked_until=_instants,
    unsettled_since=_instants,
    before=_instants,
    failures=st.integers(0, 10**15),
    retry_at=_instants,
    audited_at=_instants,
    outcome=st.text(max_size=8),
    outcome_at=_instants,
    superseded=st.tuples() | st.tuples(_instants),
)
_seconds = _instants.map(lambda instant: instant // 1000)
_records = st.one_of(
    st.none(),
    st.builds(Unreadable, st.text(max_size=8)),
    st.builds(Record, code=st.text(min_size=1), expires_at=_seconds, issued_at=st.none() | _seconds, fence=_instants),
)
_commands = st.builds(Command, action=st.sampled_from(Action), force=st.booleans())
_complaints = st.none() | st.just("") | st.text(alphabet="0123456789abcdef", min_size=8, max_size=8)


@unhurried
@given(
    record=_records,
    lease=_leases,
    command=_commands,
    complaint=_complaints,
    complains_rightly=st.booleans(),
    condemn=st.booleans(),
    at_once=st.booleans(),
)
def test_deciding_never_fails_and_depends_on_nothing_but_what_it_is_given(
    record: Record | Unreadable | None,
    lease: Lease,
    command: Command,
    complaint: str | None,
    complains_rightly: bool,
    condemn: bool,
    at_once: bool,
) -> None:
    if complains_rightly and isinstance(record, Record):
        complaint = record.fingerprint
    snapshot = Snapshot(TARGET, NOW, record, lease, complaint=complaint)
    verdict = SUPERSEDED.verdict
    condemned = Condemned(record.fingerprint, verdict) if condemn and isinstance(record, Record) else None
    before = repr((snapshot, command, POLICY))
    step = decide(snapshot, POLICY, command, condemned, at_once=at_once)
    assert step == decide(snapshot, POLICY, command, condemned, at_once=at_once)
    assert repr((snapshot, command, POLICY)) == before
    # Whatever the reason: a held lease keeps everyone out, and only a live code can be asked about.
    if 0 < lease.locked_until - NOW <= (POLICY.work_s + POLICY.flight_s) * 1000:
        assert step.reason is Reason.LOCKED
    if step.ask:
        assert snapshot.live is not None
    if snapshot.live is None:
        assert step.reason in (
            Reason.MISSING,
            Reason.UNREADABLE,
            Reason.EXPIRED,
            Reason.LOCKED,
            Reason.BACKING_OFF,
        )


@unhurried
@given(lease=_leases, record=_records)
def test_nothing_in_redis_keeps_a_target_from_being_renewed_for_longer_than_the_policy_allows(
    lease: Lease, record: Record | Unreadable | None
) -> None:
    # Further ahead than they can have been set, both count as over until then.
    later_s = int(POLICY.work_s + POLICY.flight_s + POLICY.retry_cap_s * 1.2) + 1
    end = replace(record, expires_at=NOW_S) if isinstance(record, Record) else record
    lease = replace(
        lease, locked_until=min(lease.locked_until, NOW + 90_000), retry_at=min(lease.retry_at, NOW + 360_000)
    )
    assert decide(Snapshot(TARGET, NOW + later_s * 1000, end, lease), POLICY, REFRESH).due


# -- waiting after a definite no -------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "base_s"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (6, 300), (40, 300), (10**15, 300)],
)
def test_the_wait_doubles_up_to_its_cap_and_is_at_most_a_tenth_longer(failures: int, base_s: int) -> None:
    for number in range(50):
        wait_s = retry_delay_s(Target(f"app{number}", Kind.JS_TICKET), failures, POLICY)
        assert base_s <= wait_s < base_s * 1.1


@pytest.mark.parametrize(("left_s", "wait_s"), [(1800, 300), (1200, 300), (800, 200), (100, 25), (1, 0.25), (0, 300)])
def test_the_wait_is_never_longer_than_a_quarter_of_what_is_left(left_s: int, wait_s: float) -> None:
    assert wait_s <= retry_delay_s(TARGET, 9, POLICY, left_s) <= wait_s * 1.1


def test_the_wait_is_the_same_every_time_and_differs_between_targets() -> None:
    targets = [Target(f"app{number}", kind) for number, kind in product(range(50), Kind)]
    waits = [retry_delay_s(target, 3, POLICY) for target in targets]
    assert waits == [retry_delay_s(target, 3, POLICY) for target in targets]
    assert len(set(waits)) > 80


def test_the_jitter_is_the_same_on_every_machine() -> None:
    # zlib.crc32(b"app0000/access_token") % 1000 is 414; Python's own hash would differ by process
    assert retry_delay_s(TARGET, 1, POLICY) == pytest.approx(30 * 1.0414)


def test_no_wait_is_taken_for_a_clock_that_stepped() -> None:
    for number, failures in product(range(50), range(1, 12)):
        target = Target(f"app{number}", Kind.ACCESS_TOKEN)
        wait_ms = round(retry_delay_s(target, failures, POLICY) * 1000)
        snapshot = replace(seen(None, leased(retry_at=NOW + wait_ms)), target=target)
        assert decide(snapshot, POLICY, REFRESH).reason is Reason.BACKING_OFF


def _attempts(target: Target, policy: Policy, first_tick_s: float) -> int:
    """How often a code is tried for before it expires when every attempt is refused."""
    begin = NOW - int(policy.margin_s * 1000)
    record, lease, tick, tries = replace(GOOD, expires_at=NOW_S, issued_at=NOW_S - 7200), SETTLED, 0, 0
    while (now := begin + round((first_tick_s + tick * policy.tick_s) * 1000)) < NOW:
        if decide(Snapshot(target, now, record, lease), policy, REFRESH).due:
            tries += 1
            wait_ms = round(retry_delay_s(target, lease.failures + 1, policy) * 1000)
            lease = replace(lease, failures=lease.failures + 1, retry_at=now + wait_ms, audited_at=now)
        tick += 1
    return tries


@pytest.mark.parametrize("tick_s", [60, 300])
def test_five_attempts_fit_into_the_margin(tick_s: int) -> None:
    policy = Policy(tick_s=tick_s)
    assert policy.problems() == []
    for number, kind, share in product(range(60), Kind, (0.001, 0.5, 1)):
        assert _attempts(Target(f"app{number}", kind), policy, tick_s * share) >= 5


# -- what checkCode's expiry says ------------------------------------------------------------

SUPERSESSIONS = {
    "refused by the platform": (None, 0.0, True),
    "the expiry that is recorded": (0, 0.0, False),
    "a minute early is tolerated": (-60, 0.0, False),
    "more than a minute early": (-61, 0.0, True),
    "ten minutes early": (-600, 0.0, True),
    "later than recorded": (+900, 0.0, False),
    # the platform's clock is ahead of Redis's (or behind): its instants are, too
    "a platform ten minutes behind, and a good code": (-600, -600.0, False),
    "a platform ten minutes ahead, and a good code": (+600, 600.0, False),
    "a platform ten minutes behind, and a superseded code": (-600 - 3000, -600.0, True),
    "a platform ten minutes ahead, and a superseded code": (600 - 3000, 600.0, True),
    # a Date header that lies: what the expiry says by itself counts too
    "a Date an hour ahead, and a good code": (0, 3600.0, False),
    "a Date an hour behind, and a good code": (0, -3600.0, False),
    "a Date an hour ahead, and a code that is superseded": (-3000, 3600.0, True),
    "a Date years ahead, and a good code": (0, 1e9, False),
}


@pytest.mark.parametrize("sentence", SUPERSESSIONS)
def test_superseded(sentence: str) -> None:
    later_s, skew_s, expected = SUPERSESSIONS[sentence]
    valid_until = None if later_s is None else GOOD.expires_at + later_s
    assert superseded(GOOD, valid_until, skew_s, POLICY) is expected


@pytest.mark.parametrize(
    ("later_s", "skew_s", "expected"),
    [(0, 0.0, False), (0, 61.0, True), (0, 3600.0, True), (0, -3600.0, False), (600, 600.0, False), (0, 60.0, False)],
)
def test_where_a_third_clock_confirms_the_platforms_a_step_of_rediss_clock_shows(
    later_s: int, skew_s: float, expected: bool
) -> None:
    assert superseded(GOOD, GOOD.expires_at + later_s, skew_s, POLICY, apart_s=0.0) is expected


# -- shards and selections -------------------------------------------------------------------

_app_ids = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@unhurried
@given(app_id=_app_ids, n=st.integers(1, 200))
def test_every_application_is_in_exactly_one_of_n_shards(app_id: str, n: int) -> None:
    assert [in_shard(app_id, (k, n)) for k in range(1, n + 1)].count(True) == 1
    assert in_shard(app_id, None)
    assert in_shard(app_id, (1, 1))


def test_shards_are_of_similar_size_and_the_same_on_every_machine() -> None:
    for k in range(1, 9):
        assert 80 < sum(in_shard(f"app{number:04d}", (k, 8)) for number in range(1000)) < 170
    assert in_shard("app0000", (8, 8))  # zlib.crc32(b"app0000") % 8 is 7


TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
WANTED = {
    "everything, each token before its ticket": (
        Command(),
        [("b", TOKEN), ("b", TICKET), ("a", TOKEN), ("a", TICKET), ("c", TOKEN), ("c", TICKET)],
    ),
    "some applications, still in the order of the settings": (
        Command(apps=("c", "b")),
        [("b", TOKEN), ("b", TICKET), ("c", TOKEN), ("c", TICKET)],
    ),
    "one kind": (Command(kinds=(TICKET,)), [("b", TICKET), ("a", TICKET), ("c", TICKET)]),
    "both kinds the other way round": (
        Command(apps=("a",), kinds=(TICKET, TOKEN)),
        [("a", TOKEN), ("a", TICKET)],
    ),
    "an application that there is not": (Command(apps=("d",)), []),
}


@pytest.mark.parametrize("sentence", WANTED)
def test_wanted(sentence: str) -> None:
    command, expected = WANTED[sentence]
    assert wanted(("b", "a", "c"), command) == [Target(app_id, kind) for app_id, kind in expected]


def test_shards_divide_what_is_wanted_among_them() -> None:
    app_ids = tuple(f"app{number:04d}" for number in range(100))
    parts = [wanted(app_ids, Command(shard=(k, 3))) for k in (1, 2, 3)]
    assert all(parts)
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(wanted(app_ids, Command()))
    both = wanted(app_ids, Command(apps=("app0000", "app0001"), shard=(2, 8)))
    assert {target.app_id for target in both} <= {"app0000", "app0001"}


def test_tickets_need_the_tokens_that_are_not_among_them() -> None:
    targets = [Target("b", TICKET), Target("a", TICKET), Target("a", TOKEN), Target("c", TOKEN)]
    assert tokens_for(targets) == [Target("b", TOKEN)]


# -- under the lease -------------------------------------------------------------------------


def _acquired(before: Lease) -> Lease:
    """What a lease looks like to the attempt that has just taken it."""
    return replace(
        before,
        exists=True,
        attempt="mine",
        work_until=NOW + 30_000,
        locked_until=NOW + 90_000,
        before=before.unsettled_since if before.exists else NOW,
        unsettled_since=before.unsettled_since or NOW,
    )


BEFORE = {
    "a settled one": (seen(), Reason.FRESH),
    "an unsettled one": (seen(lease=leased(unsettled_since=NOW - 9)), Reason.UNSETTLED),
    "none": (seen(GOOD, Lease()), Reason.UNSETTLED),
    "one that backs off": (seen(None, leased(retry_at=NOW + 9_000, failures=2)), Reason.BACKING_OFF),
}


@pytest.mark.parametrize("sentence", BEFORE)
def test_under_a_lease_a_decision_is_made_as_from_what_was_before_it(sentence: str) -> None:
    snapshot, reason = BEFORE[sentence]
    held = replace(snapshot, lease=_acquired(snapshot.lease))
    assert decide(held, POLICY, REFRESH).reason is Reason.LOCKED
    assert decide(replace(held, lease=as_before(held.lease)), POLICY, REFRESH).reason is reason


def test_what_was_before_a_lease_keeps_all_but_the_attempt() -> None:
    lease = Lease(True, "mine", 5, 1, 2, 3, 4, 6, 7, 8, "issued", 9, (10, 11))
    assert as_before(lease) == Lease(True, "", 5, 0, 0, 4, 0, 6, 7, 8, "issued", 9, (10, 11))


AT_WORK = {
    "nobody": (0, False),
    "somebody, for another second": (NOW + 1_000, True),
    "somebody who has just begun": (NOW + 30_000, True),
    "somebody whose time is just over": (NOW, False),
    "somebody with more time than there is": (NOW + 30_001, False),
}


@pytest.mark.parametrize("sentence", AT_WORK)
def test_at_work_is(sentence: str) -> None:
    work_until, expected = AT_WORK[sentence]
    assert at_work(seen(None, leased(work_until=work_until)), POLICY) is expected
