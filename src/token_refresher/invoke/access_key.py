"""With what right Function Compute is asked: an access key, from a function's context, the environment or a file.

| place | what is read there |
|---|---|
| a function's own context | `context.credentials`, where the runtime gives it |
| the environment | the names of ENVIRONMENT, the first pair that is there |
| the shared credentials file | `~/.alibabacloud/credentials` (or `credentials.ini`), profile `default` |

`ALIBABA_CLOUD_CREDENTIALS_FILE` names another file, `ALIBABA_CLOUD_PROFILE` another profile in it. The places are
looked at in this order: what is handed in comes first, as the environment's token may have run out in a warm function.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from token_refresher.domain.errors import InvalidValueError, SettingsError
from token_refresher.domain.model import Secret
from token_refresher.settings.values import LARGEST_SECRET_FILE, read_text_file

FILE_VARIABLE, PROFILE_VARIABLE = "ALIBABA_CLOUD_CREDENTIALS_FILE", "ALIBABA_CLOUD_PROFILE"
_FILES = ("credentials", "credentials.ini")
_TYPES = ("access_key", "sts")
# They go into a header: a line break in one would start another header.
_ONE_WORD = re.compile(r"[\x21-\x7e]+")


class Names(NamedTuple):
    """What the two halves of an access key, and the token that goes with a temporary one, are called in one place."""

    key_id: str
    secret: str
    token: str


# The usual names first, then those of the older command line, of Terraform, and of the first runtimes.
ENVIRONMENT = (
    Names("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
    Names("ALIBABACLOUD_ACCESS_KEY_ID", "ALIBABACLOUD_ACCESS_KEY_SECRET", "ALIBABACLOUD_SECURITY_TOKEN"),
    Names("ALICLOUD_ACCESS_KEY_ID", "ALICLOUD_ACCESS_KEY_SECRET", "ALICLOUD_SECURITY_TOKEN"),
    Names("ALICLOUD_ACCESS_KEY", "ALICLOUD_SECRET_KEY", "ALICLOUD_SECURITY_TOKEN"),
    Names("accessKeyID", "accessKeySecret", "securityToken"),
)
_PLAIN = Names("access_key_id", "access_key_secret", "security_token")


@dataclass(frozen=True)
class Credentials:
    """An access key; `security_token` only with a temporary one. `source` (str) says where it was found, for people."""

    access_key_id: Secret
    access_key_secret: Secret
    security_token: Secret | None = None
    source: str = ""

    def secrets(self) -> tuple[str, ...]:
        """All that must not be shown, the longest first."""
        held = (self.access_key_id, self.access_key_secret, self.security_token)
        return tuple(sorted((each.reveal() for each in held if each), key=len, reverse=True))


def find_credentials(environ: Mapping[str, str], context: Any = None) -> Credentials:
    """The access key to use; `context` is what Function Compute hands to a handler, where there is one.

    Raises SettingsError, which names every place that was looked at and quotes nothing found there.
    """
    given = getattr(context, "credentials", None)
    held = {name: getattr(given, name, None) or "" for name in _PLAIN}
    if held[_PLAIN.key_id] and held[_PLAIN.secret]:
        return _credentials(held, _PLAIN, "the function's context")
    for names in ENVIRONMENT:
        if environ.get(names.key_id) or environ.get(names.secret):
            return _credentials(environ, names, "the environment")
    return _from_file(environ)


def _credentials(held: Mapping[str, str], names: Names, source: str) -> Credentials:
    problems = []
    values = {name: (held.get(name) or "").strip() for name in names}
    for name, value in values.items():
        if not value and name != names.token:
            problems.append(f"{name} is missing in {source}")
        elif value and not _ONE_WORD.fullmatch(value):
            problems.append(f"{name} in {source} must be one word of ASCII characters")
    if problems:
        raise SettingsError(problems)
    key_id, secret, token = (Secret(values[name]) for name in names)
    return Credentials(key_id, secret, token if token else None, source)


def _from_file(environ: Mapping[str, str]) -> Credentials:
    called, text = _file(environ)
    which = f"the profile that {PROFILE_VARIABLE} names" if environ.get(PROFILE_VARIABLE) else "the profile default"
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    try:
        parser.read_string(text)
        section = dict(parser.items(environ.get(PROFILE_VARIABLE) or "default"))
    except configparser.NoSectionError:
        raise SettingsError([f"{which} is missing in {called}"]) from None
    except configparser.Error:
        # Its own words quote the line, and that may hold the secret.
        raise SettingsError([f"{called} must hold lines of the form [profile] and name = value"]) from None
    if section.get("type", _TYPES[0]) not in _TYPES:
        raise SettingsError([f"{which} in {called} must be of type {' or '.join(_TYPES)}"])
    return _credentials(section, _PLAIN, f"{which} in {called}")


def _file(environ: Mapping[str, str]) -> tuple[str, str]:
    """What the file is called in messages, and its text. Raises SettingsError."""
    if environ.get(FILE_VARIABLE):
        return f"the file that {FILE_VARIABLE} names", _text(environ[FILE_VARIABLE], FILE_VARIABLE)
    home = environ.get("HOME")
    for name in _FILES if home else ():
        path = os.path.join(home or "", ".alibabacloud", name)
        if os.path.exists(path):
            return f"~/.alibabacloud/{name}", _text(path, f"~/.alibabacloud/{name}")
    usual = ENVIRONMENT[0]
    looked = f"{usual.key_id} and {usual.secret} in the environment, and in the file ~/.alibabacloud/{_FILES[0]}"
    raise SettingsError([f"no access key was found; looked for {looked} ({FILE_VARIABLE} names another)"])


def _text(path: str, called: str) -> str:
    try:
        return read_text_file(path, LARGEST_SECRET_FILE)
    except InvalidValueError as error:
        raise SettingsError([f"{called} {error.what}"]) from None
