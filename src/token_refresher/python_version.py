"""The oldest Python that runs this program. Every door imports it first, so Python 3.6 must be able to read it."""

import sys

OLDEST = (3, 10)


def require() -> None:
    """Raises ImportError with one sentence on an older Python, which would fail somewhere within instead."""
    if sys.version_info < OLDEST:
        found = ".".join(str(number) for number in sys.version_info[:3])
        raise ImportError(
            f"token-refresher needs Python 3.10 or newer, and this is Python {found}: use a newer one "
            "(on Function Compute: the runtime python3.10 or python3.12)"
        )
