"""The program under the settings as they are now: what the scheduler runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from token_refresher import bootstrap
from token_refresher.bootstrap import reload_if_changed

if TYPE_CHECKING:
    from token_refresher.refresh.run import Refresher
    from token_refresher.settings.loader import Settings
    from token_refresher.web.history import RunHistory


class Program:
    """The program and its settings, which are looked at each time that it is asked for.

    `watched` wraps a program that was built. `changed` is called with each new settings before their program is used.
    """

    def __init__(
        self,
        settings: Settings,
        history: RunHistory,
        *,
        watched: Callable[[Refresher], Refresher],
        changed: Callable[[Settings], None],
    ) -> None:
        self._settings, self._history = settings, history
        self._watched, self._changed = watched, changed
        self._built: tuple[Refresher, Refresher] | None = None
        self._reload = threading.Event()

    def reload(self) -> None:
        """Read the files at the next call of `current`, even if none has changed. Any thread may call it."""
        self._reload.set()

    def current(self) -> Refresher:
        """The same program as before, unless the settings have changed.

        Raises StoreError when Redis cannot be reached and has to be, SettingsError for the first settings alone.
        """
        forced = self._reload.is_set()
        if forced:
            # Before the files are read: a call of `reload` from now on wants them read once more.
            self._reload.clear()
        plain = self._built[0] if self._built else None
        settings, found = reload_if_changed(self._settings, plain, asked=forced)
        if settings is not self._settings:
            self._settings = settings
            self._history.reconfigured({app.app_id: app.name for app in settings.apps}, settings.policy)
            self._changed(settings)
        self._history.mistakes = settings.origin.refused
        if self._built is None or found is not plain:
            found = found or bootstrap.refresher(settings)
            self._built = found, self._watched(found)
        return self._built[1]
