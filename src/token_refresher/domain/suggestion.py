"""What a person probably meant who wrote a name that is unknown."""

from __future__ import annotations

from collections.abc import Iterable

# What other programs call what has another name here.
_MEANT = {
    "address": "host",
    "database": "db",
    "hostname": "host",
    "pass": "auth",
    "passwd": "auth",
    "password": "auth",
    "prefix": "key_prefix",
    "secret": "app_secret",
    "uri": "url",
    "user": "username",
}


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """The end of a sentence that proposes the nearest accepted name, or lists them all when none is near."""
    import difflib  # only a mistake pays for it

    names = tuple(accepted)
    near = difflib.get_close_matches(name[:64], names, n=1)
    meant = [each for each in _MEANT if _MEANT[each] in names]
    near = near or [_MEANT[each] for each in difflib.get_close_matches(name[:64], meant, n=1)]
    return f" (did you mean {near[0]}?)" if near else f" (accepted are {', '.join(names)})"
