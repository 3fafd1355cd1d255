"""The exit codes of the command line, and which one an error or a finding of doctor leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from token_refresher.domain.errors import (
    InputError,
    InvokeError,
    PlatformError,
    SettingsError,
    StoreError,
    TokenRefresherError,
)

WELL, DANGER, USAGE, SETTINGS, REDIS, PLATFORM, INVOKE = 0, 1, 2, 3, 4, 5, 6
INTERRUPTED, UNWRITTEN, TERMINATED = 130, 141, 143

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        WELL: "all is well",
        DANGER: "a credential is missing, about to expire or (check) not the newest, or (doctor) runs are not in order",
        USAGE: "wrong usage: nothing was done",
        SETTINGS: "the settings are wrong: nothing was done",
        REDIS: "Redis did not do what was asked",
        PLATFORM: "the platform refused or did not answer (open-id, check, doctor); refresh --force got no credential",
        INVOKE: "the function was not started, or brought no report (invoke)",
        INTERRUPTED: "interrupted by Ctrl-C (SIGINT); the daemon ends with 0",
        UNWRITTEN: "output has no reader, is closed or on a full disk (but for refresh, invoke); the daemon goes on",
        TERMINATED: "ended by SIGTERM; the daemon ends with 0, once it has begun",
    }
)

# The first class that an error is of decides: SettingsError is an InputError.
_OF_ERRORS: Sequence[tuple[type[TokenRefresherError], int]] = (
    (SettingsError, SETTINGS),
    (InputError, USAGE),
    (StoreError, REDIS),
    (PlatformError, PLATFORM),
    (InvokeError, INVOKE),
)
# What is wrong at the root comes first; any other group is about credentials and runs.
_OF_GROUPS = {"settings": SETTINGS, "redis": REDIS, "platform": PLATFORM}


def of_error(error: TokenRefresherError) -> int:
    """The exit code of a command that ends by this error."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), DANGER)


def of_red_groups(groups: set[str]) -> int:
    """The exit code of doctor, by the groups of checks with a red finding (`finding.red_groups`)."""
    return next((code for group, code in _OF_GROUPS.items() if group in groups), DANGER if groups else WELL)
