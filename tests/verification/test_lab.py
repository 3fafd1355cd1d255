"""The lab itself: it measures right, it can fail, and what it writes can be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from random import Random

import pytest

from support.processes import Child
from token_refresher.domain.model import Kind, Target
from token_refresher.store.keys import keys_of
from verification.lab.__main__ import main
from verification.lab.bounded import BOUNDED
from verification.lab.chance import drawn
from verification.lab.crew import Copy, Crew
from verification.lab.guests import SickCopy, with_wrong_secret
from verification.lab.held import HeldRun
from verification.lab.people import Lost
from verification.lab.picture import draw
from verification.lab.place import Place, opened
from verification.lab.result import Result, broken, ideal_fetches, play
from verification.lab.run import play_all
from verification.lab.scenario import HOUR_S, At, Bounds, Due, Scenario
from verification.lab.scenarios import collected
from verification.lab.stage import Stage
from verification.lab.stored import code_in, expiry_in
from verification.lab.systems import Ours
from verification.lab.table import figures, file_name, lines, markdown
from verification.lab.timeline import Band, Held, Look, Timeline, as_plain, refused_stretches
from verification.lab.troubles import SomebodyElse

TOKEN, TICKET = "access_token", "js_ticket"
ALL = collected()
_ROOT = Path(__file__).resolve().parents[2]
# Plays a scenario: Redis and the platform have a few tenths of a second, which a busy machine misses.
_plays = pytest.mark.slow


# -- measures on timelines made by hand -------------------------------------------------------


def looks(*told: tuple[float, str], healthy: Sequence[bool] = ()) -> Timeline:
    """A timeline of ticket looks; the token is always accepted, and everything healthy unless said otherwise."""
    timeline = Timeline()
    for (at_s, state), well in zip(told, chain(healthy, repeat(True)), strict=False):
        timeline.add(Look(at_s, {TOKEN: Held.ACCEPTED, TICKET: Held(state)}, well))
    return timeline


def test_what_a_look_found_counts_until_the_next_one() -> None:
    timeline = looks((0, "none"), (20, "refused"), (40, "refused"), (65, "accepted"))
    assert (timeline.seconds(Held.NONE), timeline.seconds(Held.REFUSED)) == (20, 45)
    assert timeline.seconds(Held.ACCEPTED) == 65
    assert timeline.count(Held.REFUSED) == 2
    assert refused_stretches(timeline) == ["js_ticket refused from 20 to 65 s"]


def test_two_looks_at_one_instant_let_the_later_one_count() -> None:
    timeline = looks((0, "accepted"), (20, "refused"), (20, "accepted"), (40, "accepted"))
    assert timeline.seconds(Held.REFUSED) == 0
    # Held for no time, but read once.
    assert timeline.count(Held.REFUSED) == 1


def test_looks_come_in_the_order_of_time() -> None:
    with pytest.raises(ValueError, match="after one at"):
        looks((20, "accepted"), (0, "accepted"))


@pytest.mark.parametrize(
    ("healthy", "heal_s"),
    [
        ([True, True, True, True], 0),
        ([False, False, True, True], 20),
        # What was healed and broke again was not healed.
        ([True, True, False, True], 40),
        ([True, True, True, False], None),
    ],
)
def test_healed_is_what_stays_healthy_after_the_last_fault(healthy: list[bool], heal_s: float | None) -> None:
    timeline = looks(*((20.0 * number, "accepted") for number in range(len(healthy))), healthy=healthy)
    timeline.bands = [Band("early", 0, 5), Band("late", 0, 20)]
    assert timeline.heal_s() == heal_s


def test_the_ideal_is_one_fetch_at_once_and_one_whenever_the_margin_begins() -> None:
    assert [ideal_fetches(hours * HOUR_S, 7200, 1800) for hours in (1, 1.5, 1.6, 24)] == [2, 2, 4, 32]


def test_a_value_is_read_as_any_reader_would() -> None:
    raw = json.dumps({"js_ticket": "code", "expires_in": 7}).encode()
    assert (code_in(raw, TICKET), expiry_in(raw)) == ("code", 7)
    assert code_in(raw, TOKEN) is None
    assert (code_in(b"no JSON", TICKET), expiry_in(b"[]")) == (None, float("-inf"))
    assert expiry_in(b'{"expires_in": 1' + b"0" * 400 + b"}") == float("inf")


# -- verdict and presentation -----------------------------------------------------------------

QUIET = Scenario(
    name="a & b <quiet>",
    sentence="Nothing.",
    bounds=Bounds(none_s=10, fetches=1, heal_s=60, questions=5, failed_runs=0, calm_runs=0),
)
GOOD = Result(
    scenario=QUIET.name,
    system="ours",
    seed=1,
    duration_s=100,
    refused_s=0,
    none_s=10,
    unreadable_s=0,
    reads=10,
    refused_reads=0,
    fetches=5,
    ideal=4,
    foreign=0,
    questions=0,
    runs=1,
    failed_runs=0,
    heal_s=60,
    took_s=1,
    timeline=as_plain(looks((0, "accepted"), (40, "refused"), (60, "none"), (100, "none"))),
)


def test_what_keeps_its_bounds_is_not_broken() -> None:
    assert broken(QUIET, GOOD) == []


def test_work_that_takes_its_time_breaks_no_bound_but_that_of_nothing() -> None:
    assert broken(QUIET, replace(GOOD, none_s=10.2, heal_s=61)) == []
    assert broken(QUIET, replace(GOOD, refused_s=0.1)) == ["0.1 s with a refused credential, 0 are allowed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"refused_s": 20}, "20 s with a refused credential, 0 are allowed"),
        ({"none_s": 16}, "16 s without a credential, 10 are allowed"),
        ({"fetches": 6}, "2 fetches beyond the ideal 4, 1 are allowed"),
        ({"heal_s": 66}, "healed only after 66 s, 60 are allowed"),
        ({"heal_s": None}, "not healed at the end, 60 are allowed"),
        ({"questions": 6}, "6 questions, 5 are allowed"),
        ({"failed_runs": 1}, "1 failed runs, 0 are allowed"),
        ({"calm_runs": 2}, "2 runs that called a missing credential well, 0 are allowed"),
        ({"unfinished": ("a fault",)}, "the fault 'a fault' never came or never ended"),
    ],
)
def test_each_bound_that_is_broken_is_told(change: dict[str, object], words: str) -> None:
    assert broken(QUIET, replace(GOOD, **change)) == [words]  # type: ignore[arg-type]


def test_inside_the_assumptions_no_bound_may_allow_a_refused_code() -> None:
    lenient = replace(QUIET, bounds=Bounds(refused_s=20, none_s=10, fetches=1))
    assert "inside the assumptions" in broken(lenient, GOOD)[0]
    assert broken(replace(lenient, outside="something else"), GOOD) == []


def test_the_picture_is_whole_and_says_in_words_what_it_shows() -> None:
    fetches = [[0, TICKET, True], [30, TICKET, False]]
    timeline = GOOD.timeline | {"faults": [[10, 20, "a fault & more"]], "fetches": fetches}
    text = draw(QUIET, [replace(GOOD, timeline=timeline), replace(GOOD, system="baseline", heal_s=None)])
    picture = ElementTree.fromstring(text)  # noqa: S314 - our own
    words = ["".join(each.itertext()) for each in picture.iter() if each.tag.endswith(("title", "desc"))]
    assert words[0] == QUIET.name
    assert "token refresher: 0 s with a rejected credential" in words[1]
    assert "cron job" in words[1]
    assert "never recovered" in words[1]
    for wanted in (
        "a fault & more, 0:00:10 to 0:00:20",
        "rejected, 0:00:40 to 0:01:00",
        "no credential, 0:01:00 to 0:01:40",
    ):
        assert wanted in words
    assert sum(each.tag.endswith("polygon") for each in picture.iter()) == 2
    assert "prefers-color-scheme: dark" in text


def test_both_tables_have_a_line_for_each_scenario_with_both_systems() -> None:
    results = {QUIET.name: {"ours": GOOD, "baseline": replace(GOOD, system="baseline", refused_s=999, heal_s=None)}}
    told = lines({QUIET.name: QUIET}, results)
    assert told[-1].split() == f"{QUIET.name} in 0 999 10 10 5 of 4 5 of 4 60 never".split()
    row = [cell.strip() for cell in markdown({QUIET.name: QUIET}, results)[-1].strip("|").split("|")]
    assert row == [QUIET.name, "in", "0", "999", "10", "10", "5 of 4", "5 of 4", "60", "never"]
    alone = lines({QUIET.name: QUIET}, {QUIET.name: {"ours": GOOD}})
    assert alone[-1].split()[-1] == "-"


def test_the_figures_tell_both_kinds_apart_and_what_it_cost() -> None:
    row = figures({QUIET.name: {"ours": replace(GOOD, questions=7)}})[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        QUIET.name,
        "0, 20",
        "0, 40",
        "5 of 4",
        "7",
        "0",
        "0",
    ]


# -- scenarios --------------------------------------------------------------------------------


def test_all_scenarios_have_a_sentence_and_a_file_of_their_own_and_those_of_the_bounded_part_are_there() -> None:
    assert len({file_name(name) for name in ALL}) == len(ALL)
    assert all(scenario.sentence.endswith(".") for scenario in ALL.values())
    assert [name for name in BOUNDED if name not in ALL] == []


def test_inside_the_assumptions_no_second_with_a_refused_code_is_allowed() -> None:
    assert [name for name, scenario in ALL.items() if scenario.inside and scenario.bounds.refused_s != 0] == []


def test_chance_takes_the_same_course_for_the_same_seed() -> None:
    assert len(drawn(Random(1), 1.0)) == 10
    assert drawn(Random(1), 0.0) == []
    assert drawn(Random(1), 0.5) == drawn(Random(1), 0.5) != drawn(Random(2), 0.5)


def test_a_point_that_nobody_knows_is_told() -> None:
    with pytest.raises(ValueError, match="none of after its lease"):
        HeldRun(start=Due(), point="nowhere")


@pytest.mark.parametrize(
    ("lease", "settled"),
    [
        ({"mark": ""}, True),
        ({"mark": "", "unsettled_since": "5"}, True),
        ({"mark": "an attempt"}, False),
        # Of the algorithm that knew no marks.
        ({"unsettled_since": "0"}, True),
        ({"unsettled_since": "5"}, False),
        ({"attempt": "a"}, False),
        ({"mark": "", "locked_until": "9999999999999"}, False),
    ],
)
def test_a_lease_is_settled_without_a_mark_and_without_a_lock(lease: dict[str, str], settled: bool) -> None:
    with opened(Place()) as place:
        client = place.readers[0]
        for kind in Kind:
            key = keys_of(Target(place.app_id, kind)).lease
            client.hset(key, mapping=lease)
            client.expire(key, 60)
        assert Ours(place, {}).settled(client) is settled


def test_without_a_lease_nothing_is_settled() -> None:
    with opened(Place()) as place:
        assert not Ours(place, {}).settled(place.readers[0])


@_plays
def test_a_copy_with_settings_of_its_own_runs_as_long_as_it_is_there() -> None:
    sick = SickCopy(start=At(70), lasting_s=300, settings=with_wrong_secret, label="wrong secret", ahead_s=1)
    scenario = Scenario(name="a guest", sentence="A copy is wrong.", duration_s=900, troubles=(sick,))
    result = play(scenario, "ours", seed=1)
    assert result.timeline["faults"] == [[70.0, 370.0, sick.name]]
    # One run a minute here, from the first to the last, and one a minute of the guest.
    assert result.runs == 15 + 5


@_plays
def test_a_copy_that_is_killed_at_each_start_starts_again() -> None:
    sick = SickCopy(start=At(70), lasting_s=200, killed="after its lease", label="killed")
    lost = Lost(start=At(80))
    scenario = Scenario(name="a guest", sentence="A copy dies.", duration_s=600, troubles=(sick, lost))
    result = play(scenario, "ours", seed=1)
    assert result.none_s > 0
    assert result.unfinished == ()


@_plays
def test_copies_that_pause_share_the_time_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(Place()) as place:
        scenario = Scenario(name="pause", sentence="Two copies pause.", duration_s=600)
        stage = Stage(scenario, Ours(place, {}), place, seed=1)
        driver = "from verification.lab.worker import _pause; from support.child import ask; _pause(30); ask('ready')"
        environ = {"CLOCK_FILE": str(place.clock_file)}
        passed: list[float] = []

        def pause(seconds: float) -> None:
            passed.append(seconds)
            place.world.advance(seconds)

        monkeypatch.setattr(place, "pause", pause)
        with Child(driver, environ) as one, Child(driver, environ) as other:
            copies = [Copy(stage, child) for child in (one, other)]
            # Both pause before the time of either is let pass.
            assert [copy.hear(pauses=False) for copy in copies] == [None, None]
            assert [copy.hear() for copy in copies] == [True, True]
        # The second has only its later start still to wait for.
        assert passed[1] < passed[0]


@_plays
def test_runs_that_call_a_missing_code_well_are_counted() -> None:
    held = HeldRun(start=At(70), point="after its lease", kind=TOKEN)
    scenario = Scenario(name="calm", sentence="A run dies.", duration_s=300, troubles=(held, Lost(start=At(80))))
    assert play(scenario, "ours", seed=1).calm_runs == 1


# -- the whole of it --------------------------------------------------------------------------


@_plays
@pytest.mark.keys_without_ttl("the baseline stores without")
def test_the_same_faults_leave_readers_of_the_baseline_with_refused_codes() -> None:
    """So the scenario bites, and the lab sees it."""
    name = "frozen 5 min before store"
    assert play(ALL[name], "ours", seed=1).refused_s == 0
    baseline = play(ALL[name], "baseline", seed=1)
    assert baseline.refused_s > 3600
    assert baseline.refused
    assert any("s with a refused credential" in sentence for sentence in broken(ALL[name], baseline))


@_plays
def test_our_system_without_its_audit_is_found_out() -> None:
    scenario = Scenario(
        name="no audit",
        sentence="Somebody else refreshes, and nobody asks.",
        duration_s=HOUR_S,
        troubles=(SomebodyElse(start=At(300)),),
        policy={"audit_interval_s": 0},
    )
    result = play(scenario, "ours", seed=1)
    assert result.refused_s > 2 * 1800
    assert result.heal_s is None
    assert len(broken(scenario, result)) >= 2


@_plays
def test_a_fault_that_never_came_is_told() -> None:
    trouble = SomebodyElse(start=Due(HOUR_S))
    late = Scenario(name="too late", sentence="Nothing.", duration_s=600, troubles=(trouble,))
    assert broken(late, play(late, "ours", seed=1)) == ["the fault 'somebody else refreshes' never came or never ended"]


class _BetweenSeconds(Place):
    """Begins a tenth of a second before a whole one, so that what is issued next ends just after a timer fires."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.world.advance(1.9 - self.world.now() % 1)
        self.began = self.world.now()


@_plays
def test_a_fault_that_waits_for_a_fetch_comes_before_a_slow_run_that_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Crew.run

    def slowly(crew: Crew, order: str) -> None:
        place = crew._stage.place
        place.pause(0.5 if place.elapsed_s() > 60 else 0.3)
        run(crew, order)

    monkeypatch.setattr(Crew, "run", slowly)
    trouble = SomebodyElse(start=Due())
    scenario = Scenario(
        name="slow", sentence="Runs are slow.", place=_BetweenSeconds, duration_s=2 * HOUR_S, troubles=(trouble,)
    )
    assert play(scenario, "ours", seed=1).unfinished == ()


@_plays
def test_a_scenario_that_cannot_be_played_stops_no_other_and_is_told() -> None:
    said: list[str] = []
    results, failed = play_all({"nonsense": QUIET}, 1, 1, "ours", said.append)
    assert results == {"nonsense": {}}
    assert failed == said == ["nonsense / ours could not be played: KeyError: 'nonsense'"]


@_plays
def test_the_command_plays_both_systems_and_leaves_a_table_a_file_and_a_timeline(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "verification.lab",
        "--only",
        "answer: status 4000, once",
        "--jobs",
        "2",
        "--seed",
        "7",
    ]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(_ROOT / part) for part in ("src", "tests"))}
    done = subprocess.run(
        [*command, "--directory", str(tmp_path)], capture_output=True, text=True, env=environ, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert "1 scenarios, 1 inside the assumptions; seed 7" in done.stdout
    told = json.loads((tmp_path / "lab.json").read_text())
    assert told["seed"] == 7
    (scenario,) = told["scenarios"]
    assert scenario["ours"]["refused_s"] == 0
    assert {"ours", "baseline"} <= set(scenario)
    ElementTree.parse(tmp_path / "answer-status-4000-once.svg")  # noqa: S314 - our own


def test_the_list_names_every_scenario_and_a_name_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--full"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ALL)
    with pytest.raises(SystemExit, match="no scenario is called so"):
        main(["--only", "nonsense"])
