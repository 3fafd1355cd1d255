"""Values that are accepted and hardly meant: quotes, invisible characters, references of other tools.

Each sentence is the end of one that begins with the setting's name. None quotes any part of the value.
"""

from __future__ import annotations

import os
import re
import unicodedata

_QUOTES = ("''", '""', "``", "\u2018\u2019", "\u201c\u201d", "\u300c\u300d")
_LIKE_A_REFERENCE = re.compile(
    r"\$\{.*\}|\$[A-Za-z_][A-Za-z0-9_]*|\$\(.*\)|\$?\{\{.*\}\}|%[A-Za-z_][A-Za-z0-9_]*%|<[^<>]+>"
    r"|!(Ref|Sub|GetAtt)\b.*|(env|secret|vault|ssm|kms|arn|file|acs):.*",
    re.IGNORECASE,
)
_REFERENCE_WITHIN = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-?+=][^}]*)?\}")
_SERVICE_LINK = re.compile(
    "_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)


def quoted(value: str) -> bool:
    """Whether the value begins and ends with quotes, as an env file or a console keeps them."""
    return len(value) > 1 and value[0] + value[-1] in _QUOTES


def invisible(value: str) -> bool:
    """Whether the value holds a character that no editor shows, such as a zero-width space or an odd blank."""
    return any(unicodedata.category(char) in ("Cf", "Zl", "Zp", "Zs") for char in value if not char.isascii())


def like_a_reference(value: str) -> bool:
    """Whether the value looks like a reference of a shell or another tool, which is not followed here."""
    return bool(_LIKE_A_REFERENCE.fullmatch(value) or _REFERENCE_WITHIN.search(value))


def oddities(value: str, secret: bool) -> list[str]:
    """What is odd about a value that is taken as it is; `secret`: a path may be meant as a reference to a file."""
    found = []
    if value != value.strip():
        found.append("begins or ends with a blank: is that meant?")
    if quoted(value.strip()):
        found.append("is within quotes, which count as part of it: leave them out unless they are meant")
    if invisible(value):
        found.append("holds an invisible character: type it again unless that is meant")
    if like_a_reference(value.strip()):
        found.append("looks like a reference, but is taken as it is: only a whole ${NAME} or file:PATH is one")
    elif secret and value.startswith("/") and os.path.isfile(value):
        found.append("is the path of a file, but is taken as it is: write file: before the path")
    return found


def is_service_link(name: str) -> bool:
    """Whether Kubernetes sets this variable for a Service, whatever that is called."""
    return bool(_SERVICE_LINK.search(name))
