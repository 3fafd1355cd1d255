"""The values that settings may have: each function turns the text given into a value, or raises InvalidValueError.

Its words are the end of a sentence that begins with the setting's name, and never quote what was given.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Union

from token_refresher.domain.addresses import LARGEST_DATABASE
from token_refresher.domain.errors import InvalidValueError
from token_refresher.domain.host_port import HostPort

Value = Union[str, "list[Value]", "Section", None]


class Section(dict[str, "Value"]):
    """A mapping of the configuration file; `lines` tells on which line (from 1) each of its names stands."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# What the module logging accepts too.
_OTHER_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}
# Passwords and URLs have some hundred characters; anything longer is the wrong file.
LARGEST_SECRET_FILE = 64_000
LONGEST_NAME = 128
# A century. Bounds keep every sum and quotient of policy numbers finite ...
LARGEST_NUMBER = 3_155_760_000
# ... and leases are kept in milliseconds, so less than one is nothing.
SMALLEST_NUMBER = 0.001

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{0,15})?([eE][+-]?[0-9]{1,3})?")
_QUOTES = ("''", '""', "``", "\u2018\u2019", "\u201c\u201d", "\u300c\u300d")
_LIKE_A_REFERENCE = re.compile(
    r"\$\{.*\}|\$[A-Za-z_][A-Za-z0-9_]*|\$\(.*\)|\$?\{\{.*\}\}|%[A-Za-z_][A-Za-z0-9_]*%|<[^<>]+>"
    r"|!(Ref|Sub|GetAtt)\b.*|(env|secret|vault|ssm|kms|arn|file|acs):.*",
    re.IGNORECASE,
)
_REFERENCE_WITHIN = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-?+=][^}]*)?\}")
# Of an address. Most passwords that begin with $ or end in % are no reference.
_BETWEEN_PARTS = re.compile("[:/@?&=,]+")
_LIKE_A_PART = re.compile(r"\$[A-Z][A-Z0-9_]{2,}|\$\([^()]*\)|\$?\{\{.*\}\}|%[A-Z][A-Z0-9_]+%|<[^<>]+>")
_NAMES_A_VARIABLE = re.compile(r"(?:\$?\{\{ *|\$\{|\$\(|%|\$(?=[A-Z0-9]+_))([A-Z][A-Z0-9_]{2,40})(?![A-Za-z0-9_.])")
_SERVICE_LINK = re.compile(
    "_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)


def text(value: Value) -> str:
    """`value` as it is, when it is text on one line."""
    if not isinstance(value, str):
        raise InvalidValueError("must be a single value")
    if _CONTROL.search(value):
        raise InvalidValueError("must not hold line breaks, control characters or bytes that are not UTF-8")
    return value


def is_reference(given: str) -> bool:
    """Whether the value stands for a secret: `${NAME}` or `file:PATH`."""
    return bool(_REFERENCE.fullmatch(given)) or given.startswith("file:")


def resolve(given: str, environ: Mapping[str, str]) -> str:
    """The secret that `${NAME}` (an environment variable) or `file:PATH` stands for; any other text as it is.

    Only whole values are references, so that a password with `${` in it keeps working. What is found is not
    resolved again.
    """
    reference = _REFERENCE.fullmatch(given)
    if reference:
        name = reference[1]
        if not environ.get(name):
            raise InvalidValueError(f"refers to the environment variable {name}, which is missing or empty")
        return text(environ[name])
    if given.startswith("file:"):
        found = read_text_file(given[len("file:") :], LARGEST_SECRET_FILE)
        found = found[:-1] if found.endswith("\n") else found
        found = found[:-1] if found.endswith("\r") else found
        if not found:
            raise InvalidValueError("refers to a file that is empty")
        return text(found)
    return given


def read_text_file(path: str, largest: int) -> str:
    """The file's text (UTF-8; a byte order mark is dropped), when it has at most `largest` bytes."""
    try:
        with open(path, "rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise InvalidValueError(f"refers to a file of more than {largest} bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidValueError("refers to a file that is not UTF-8") from None
    except (OSError, UnicodeEncodeError) as error:
        # strerror is the system's own sentence, without the path.
        why = getattr(error, "strerror", None) or "not a path"
        raise InvalidValueError(f"refers to a file that cannot be read ({why})") from None


def name(given: str) -> str:
    """An app id or key prefix. Braces would break the hash tag that keeps a target's keys in one slot."""
    if len(given) > LONGEST_NAME or not given.isprintable() or re.search(r"[\s{}]", given):
        raise InvalidValueError(f"must be at most {LONGEST_NAME} printable characters, without blanks and braces")
    return given


def log_level(given: str) -> str:
    level = given.strip().upper()
    level = _OTHER_LEVELS.get(level, level)
    if level not in LOG_LEVELS:
        raise InvalidValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return level


def existing_file(given: str) -> str:
    """A path that exists. Told at start, since a missing CA bundle otherwise looks like a TLS failure."""
    if not os.path.exists(given):
        raise InvalidValueError("refers to a file that does not exist")
    return given


def whole(given: str, low: int, high: int) -> int:
    number = int(given) if _WHOLE.fullmatch(given) else low - 1
    if not low <= number <= high:
        raise InvalidValueError(f"must be a whole number from {low} to {high}")
    return number


def redis_host(given: str) -> HostPort:
    """A host name or address; one of IPv6 with or without its brackets."""
    in_brackets = f"[{given}]" if ":" in given and not given.startswith("[") else given
    try:
        found = HostPort.parse(in_brackets)
    except InvalidValueError:
        found = None
    if found is None or found.port is not None:
        raise InvalidValueError("must be a host name or an address, without a port")
    return found


def port(given: str) -> int:
    return whole(given, 1, 65535)


def database(given: str) -> int:
    return whole(given, 0, LARGEST_DATABASE)


def seconds(given: str) -> float:
    """A duration; an int where it is one, as Redis takes no `60.0`. Policy judges its sign."""
    if _WHOLE.fullmatch(given):
        number: float = int(given)
    else:
        number = float(given) if _DECIMAL.fullmatch(given) else math.nan
    if not (number == 0 or SMALLEST_NUMBER <= abs(number) <= LARGEST_NUMBER):
        raise InvalidValueError(f"must be a number of seconds: 0, or {SMALLEST_NUMBER} to {LARGEST_NUMBER}")
    return number


def concurrency(given: str) -> int:
    return whole(given, 1, 256)


# -- what is accepted and hardly meant -------------------------------------------------------------------------------


def quoted(value: str) -> bool:
    """Whether the value begins and ends with quotes, as an env file or a console keeps them."""
    return len(value) > 1 and value[0] + value[-1] in _QUOTES


def invisible(value: str) -> bool:
    """Whether the value holds a character that no editor shows, such as a zero-width space or an odd blank."""
    return any(unicodedata.category(char) in ("Cf", "Zl", "Zp", "Zs") for char in value if not char.isascii())


def like_a_reference(value: str) -> str:
    """What a value looks like that holds a reference of a shell or another tool, which is not followed; "" if none.

    Of an address, each part may be one. A name is shown where no one would take it for a password.
    """
    found = _LIKE_A_REFERENCE.fullmatch(value) or _REFERENCE_WITHIN.search(value)
    if not found and "://" in value:
        parts = _BETWEEN_PARTS.split(value.partition("://")[2])
        found = next(filter(None, map(_LIKE_A_PART.fullmatch, parts)), None)
    if not found:
        return ""
    named = _NAMES_A_VARIABLE.match(found[0])
    return f"a reference to {named[1]}" if named else "a reference"


def oddities(value: str, secret: bool) -> list[str]:
    """What is odd about a value that is accepted as it is, each as the end of a sentence that does not quote it.

    `secret` (bool): a path may be meant as a reference to a file.
    """
    found = []
    if value != value.strip():
        found.append("begins or ends with a blank: is that meant?")
    if quoted(value.strip()):
        found.append("is within quotes, which count as part of it: leave them out unless they are meant")
    if invisible(value):
        found.append("holds an invisible character: type it again unless that is meant")
    if reference := like_a_reference(value.strip()):
        what = "looks like" if _LIKE_A_REFERENCE.fullmatch(value.strip()) else "holds what looks like"
        found.append(f"{what} {reference}, but is taken as it is: only a whole ${{NAME}} or file:PATH is one")
    elif secret and value.startswith("/") and os.path.isfile(value):
        found.append("is the path of a file, but is taken as it is: write file: before the path")
    return found


def probable_cause(value: str) -> str:
    """The end of a sentence about a value that is not accepted: what is odd about it, as far as that may be why."""
    if quoted(value.strip()):
        return " (it is within quotes, which count)"
    reference = "" if is_reference(value) else like_a_reference(value.strip())
    return f" (it holds what looks like {reference}, which is not replaced)" if reference else ""


def is_service_link(name: str) -> bool:
    """Whether Kubernetes sets this variable for a Service, whatever that is called."""
    return bool(_SERVICE_LINK.search(name))
