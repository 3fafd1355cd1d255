"""One of the authorities that systems trust: to load all takes longer than most tests, and none of them needs any."""

from __future__ import annotations

from pathlib import Path

import certifi

_END = "-----END CERTIFICATE-----\n"


def one_authority() -> str:
    """The text of a file of certificates with a single one in it."""
    return Path(certifi.where()).read_text().partition(_END)[0] + _END
