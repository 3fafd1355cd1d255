"""The steps of docs/how-to/migrate-from-cron.md, beside the older cron task, with readers that look all the time."""

from __future__ import annotations

import pytest

from support import cron_pattern
from support.flow import TICK_S, Deployment, of
from support.world import World
from token_refresher.domain.model import Kind

_HOURS = 60


class Migration(Deployment):
    """A deployment beside which the older task may run, with the same file and the same keys."""

    def __init__(self, world: World) -> None:
        super().__init__(world, 2)
        self.old_fetches = 0
        self._older = cron_pattern.configured(self.environ["CONFIG_FILE"])

    def minutes(self, count: int, *, old: bool, new: bool) -> None:
        for _ in range(count):
            self.pass_time(TICK_S)
            if old:
                self.old_fetches += cron_pattern.tick(*self._older, clock=self.world.now)
            if new:
                self.run()
            self.look()


@pytest.fixture
def migration(world: World) -> Migration:
    """The older task alone has been at work for a while."""
    migration = Migration(world)
    migration.minutes(1, old=True, new=False)
    # Until its first tick nobody can have read anything.
    migration.missing = 0
    migration.minutes(2 * _HOURS, old=True, new=False)
    return migration


@pytest.mark.keys_without_ttl("the older task stores without")
# Hundreds of runs: seconds on an idle machine, minutes on one that has much else to do.
@pytest.mark.timeout(600)
def test_side_by_side_switched_over_and_back_no_reader_is_disturbed(migration: Migration) -> None:
    migration.minutes(3 * _HOURS, old=True, new=True)
    before = migration.old_fetches
    migration.minutes(3 * _HOURS, old=True, new=True)
    # The refresher comes first, at half an hour before the end: the older task finds nothing to do.
    assert migration.old_fetches == before
    migration.minutes(3 * _HOURS, old=False, new=True)
    migration.minutes(1 * _HOURS, old=True, new=True)
    migration.minutes(3 * _HOURS, old=True, new=False)
    assert migration.old_fetches > before
    assert migration.dead == []
    assert migration.missing == 0


@pytest.mark.keys_without_ttl("the older task stores without")
def test_the_first_run_asks_about_what_the_older_task_stored_and_fetches_nothing(migration: Migration) -> None:
    report = migration.run()
    fresh = [each for each in report.targets if each.seconds_left > 1800]
    assert fresh
    assert all(each.questions == 1 and each.fetches == 0 and each.settled for each in fresh)
    assert of(migration.tick(), Kind.JS_TICKET).questions == 0
