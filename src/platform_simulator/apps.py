"""The applications the platform knows: id, secret, white list, and whether they are disabled."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class App:
    """One application. `allowed_ips` None means that calls may come from any address."""

    app_id: str
    secret: str = field(repr=False)
    allowed_ips: frozenset[str] | None = None
    disabled: bool = False


class Apps:
    """All applications; safe to change while requests are served."""

    def __init__(self, apps: Mapping[str, str] | Iterable[App]) -> None:
        if isinstance(apps, Mapping):
            apps = [App(app_id, secret) for app_id, secret in apps.items()]
        self._lock = threading.Lock()
        self._apps = {app.app_id: app for app in apps}

    def get(self, app_id: str) -> App | None:
        """The application, or None when it is unknown."""
        return self._apps.get(app_id)

    def add(self, app: App) -> None:
        """Add an application or replace the one of the same id."""
        with self._lock:
            self._apps[app.app_id] = app

    def rotate_secret(self, app_id: str, secret: str) -> None:
        """From now on only the new secret counts. Raises KeyError for an unknown app."""
        with self._lock:
            self._apps[app_id] = replace(self._apps[app_id], secret=secret)

    def disable(self, app_id: str, disabled: bool) -> None:
        """Disable an application, or enable it again. Raises KeyError for an unknown app."""
        with self._lock:
            self._apps[app_id] = replace(self._apps[app_id], disabled=disabled)

    def white_list(self, app_id: str, ips: Iterable[str] | None) -> None:
        """Allow only these addresses; None allows all. Raises KeyError for an unknown app."""
        allowed = None if ips is None else frozenset(ips)
        with self._lock:
            self._apps[app_id] = replace(self._apps[app_id], allowed_ips=allowed)
