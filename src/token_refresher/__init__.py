"""Keeps both codes of every application fresh in Redis.

For applications that read them: `from token_refresher import Reader` (or `AsyncReader`). Both are imported when they
are first asked for, so that the refresher does not pay for them. Python 3.6 must be able to read this file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from token_refresher.reader.async_reader import AsyncReader
    from token_refresher.reader.sync_reader import Reader

__version__ = "0.1.0"
__all__ = ["AsyncReader", "Reader", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncReader", "Reader"):
        from token_refresher.python_version import require

        require()
    if name == "Reader":
        from token_refresher.reader.sync_reader import Reader

        return Reader
    if name == "AsyncReader":
        from token_refresher.reader.async_reader import AsyncReader

        return AsyncReader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
