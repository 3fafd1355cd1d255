"""Scenarios in processes of their own, several at once: they are independent of each other."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed

from support.loopback import forbid_outside

from .result import Result, play
from .scenario import Scenario
from .scenarios import collected
from .systems import SYSTEMS

# Moving a clock is a file that is replaced, which some disks take milliseconds for.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a directory of this run's own is made there

# A process that reads an answer without end must not take the machine along (bytes).
_MEMORY = 1 << 30
# So many threads as sixty applications bring along fit into it only with small stacks (bytes).
_STACK = 1 << 19


def _prepare() -> None:
    """In each process: quiet, bounded, on this machine only, with files in memory where there is such a place."""
    logging.disable(logging.CRITICAL)
    threading.stack_size(_STACK)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    forbid_outside(lambda _where: None)
    if os.access(_SHARED_MEMORY, os.W_OK):
        tempfile.tempdir = _SHARED_MEMORY


def _play(name: str, system: str, seed: int) -> Result:
    return play(collected()[name], system, seed)


def play_all(
    scenarios: Mapping[str, Scenario], seed: int, jobs: int, system: str | None, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, Result]], list[str]]:
    """Results by scenario and system, in the order of the scenarios, and what could not be played.

    `system` None: both.
    """
    wanted = [
        (name, each)
        for name, scenario in scenarios.items()
        for each in SYSTEMS
        if each == (system or each) and (each == "ours" or scenario.baseline)
    ]
    # The longest first, so that no process ends long after the others.
    ordered = sorted(wanted, key=lambda pair: -scenarios[pair[0]].duration_s * scenarios[pair[0]].copies)
    found: dict[tuple[str, str], Result] = {}
    failed = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, jobs), mp_context=context, initializer=_prepare) as pool:
        try:
            work = {pool.submit(_play, name, each, seed): (name, each) for name, each in ordered}
            for number, done in enumerate(as_completed(work), 1):
                told = " / ".join(work[done])
                error = done.exception()
                if error is None:
                    found[work[done]] = done.result()
                    say(f"{number} of {len(wanted)}: {told}, {done.result().took_s:g} s")
                else:
                    failed.append(f"{told} could not be played: {type(error).__name__}: {error}")
                    say(failed[-1])
        finally:
            pool.shutdown(cancel_futures=True)
    results = {name: {each: found[name, each] for each in SYSTEMS if (name, each) in found} for name in scenarios}
    return results, failed
