"""What an examination finds, as values: how serious it is, a sentence, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby

# Of so many findings that differ by their subject alone, the table shows one line.
_ALIKE = 4
_NAMED = 3


class Severity(str, Enum):
    """How serious a finding is; the worst one decides the exit code. People see it as a traffic light."""

    RED = "red"  # does not work, or soon will not
    YELLOW = "yellow"  # works, and a person should look at it
    GREY = "grey"  # not examined, and why
    GREEN = "green"  # in order


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `name` is one of CHECKS and begins with its group; `says` is a sentence; `fix` says what to do (empty: nothing).
    `about` is the application, and the kind where it is about one credential; empty for what concerns all.
    """

    name: str
    severity: Severity
    says: str
    fix: str = ""
    about: str = ""

    def as_dict(self) -> dict[str, str]:
        """For `--json`, under the names that other programs know."""
        shown = {"name": self.name, "light": self.severity.value, "says": self.says}
        return shown | {name: text for name, text in (("cure", self.fix), ("about", self.about)) if text}


@dataclass(frozen=True)
class Check:
    """One of CHECKS, about one subject or about all; makes its findings."""

    name: str
    about: str = ""

    def red(self, says: str, fix: str = "") -> Finding:
        return Finding(self.name, Severity.RED, says, fix, self.about)

    def yellow(self, says: str, fix: str = "") -> Finding:
        return Finding(self.name, Severity.YELLOW, says, fix, self.about)

    def grey(self, says: str, fix: str = "") -> Finding:
        return Finding(self.name, Severity.GREY, says, fix, self.about)

    def green(self, says: str) -> Finding:
        return Finding(self.name, Severity.GREEN, says, about=self.about)


# Every check, in the order in which they are shown, with what it looks at.
CHECKS = {
    "settings": "environment and configuration file",
    "redis reachable": "Redis answers at its address, and accepts the login",
    "redis version": "the server can run the scripts",
    "redis encryption": "the network between cannot read the credentials",
    "redis role": "the server takes writes",
    "redis rights": "the user may run the scripts and touch the keys",
    "redis eviction": "the server keeps what was stored",
    "redis memory": "there is room",
    "redis persistence": "credentials outlive a restart of Redis",
    "redis clock": "Redis and this machine agree on the time",
    "platform reachable": "the platform answers, directly or by a proxy",
    "platform white list": "the platform serves this address",
    "platform secret": "the platform accepts the application's secret",
    "platform clock": "Redis and the platform agree on the time",
    "credential stored": "a readable credential is stored, with time left",
    "credential accepted": "the platform accepts the stored credential, until its recorded end",
    "credential writers": "only this program writes these keys and fetches credentials",
    "run lease": "no attempt hangs, is unsettled, or keeps failing",
    "run timer": "the timer fires",
    "run time-out": "the function's own time-out leaves time to fetch",
}


def red_groups(findings: Sequence[Finding]) -> set[str]:
    """The groups of CHECKS in which something is red: settings, redis, platform, credential, run."""
    return {each.name.partition(" ")[0] for each in findings if each.severity is Severity.RED}


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The findings in the order of CHECKS, and within a check in the order in which they came."""
    order = {name: position for position, name in enumerate(CHECKS)}
    return sorted(findings, key=lambda each: order[each.name])


def gathered(findings: Sequence[Finding]) -> list[Finding]:
    """For people: many findings of one check that ask for the same are one line, with some of their subjects."""
    return [each for _, same in groupby(findings, lambda each: each.name) for each in _of_one_check(list(same))]


def _of_one_check(findings: list[Finding]) -> Iterator[Finding]:
    alike: dict[tuple[Severity, str], list[Finding]] = {}
    for each in findings:
        alike.setdefault((each.severity, each.fix), []).append(each)
    for same in alike.values():
        if len(same) < _ALIKE:
            yield from same
            continue
        named = ", ".join(dict.fromkeys(each.about for each in same[:_NAMED]))
        yield replace(same[0], says=f"{same[0].says} (one of {len(same)} alike)", about=f"{named}, ...")


def summary(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings have each severity."""
    return {severity.value: sum(each.severity is severity for each in findings) for severity in Severity}
