"""Keeps both credentials of every application fresh in Redis.

For applications that read them: `from token_refresher import Reader` (or `AsyncReader`), and what readers raise. All of
it is imported when it is first asked for, so that the refresher does not pay for it. Python 3.6 must be able to read
this file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from token_refresher.domain.errors import (
        NoCredentialError,
        SettingsError,
        SigningError,
        StoreError,
        TokenRefresherError,
    )
    from token_refresher.domain.policy import Policy
    from token_refresher.reader.async_reader import AsyncReader
    from token_refresher.reader.cache import CachedCredential
    from token_refresher.reader.sync_reader import Reader

__version__ = "0.1.0"
__all__ = [
    "AsyncReader",
    "CachedCredential",
    "NoCredentialError",
    "Policy",
    "Reader",
    "SettingsError",
    "SigningError",
    "StoreError",
    "TokenRefresherError",
    "__version__",
]

_MODULES = {
    "AsyncReader": "reader.async_reader",
    "CachedCredential": "reader.cache",
    "NoCredentialError": "domain.errors",
    "Policy": "domain.policy",
    "Reader": "reader.sync_reader",
    "SettingsError": "domain.errors",
    "SigningError": "domain.errors",
    "StoreError": "domain.errors",
    "TokenRefresherError": "domain.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from token_refresher.python_version import require

    require()
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
