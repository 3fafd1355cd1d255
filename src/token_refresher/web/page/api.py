"""The status page: every code with its state, time left and last day, for whoever is woken at night.

    app.register_blueprint(page.blueprint(state, token=token, refresh=loop.soon))    # in the daemon
    page.serve(settings, refresher, "127.0.0.1:8081", None)                          # alone

Needs Flask, Jinja2 and waitress (the extra "daemon"). Shows fingerprints, never codes.

| module                                      | what it is for                                      |
|---------------------------------------------|-----------------------------------------------------|
| `page_source`                               | what the page needs to be told                      |
| `page_words`, `page_state`, `page_chart`    | durations; how bad it is; the history as lines      |
| `page_view`                                 | all of it together, ready for the template          |
| `page_guard`, `page_guesses`                | token, sessions, forms, Host header, headers        |
| `page_routes`                               | the blueprint                                       |
| `page_serve`                                | the page without the daemon                         |
| `page/`                                     | templates, style, script, icon                      |
"""

from __future__ import annotations

from token_refresher.web.page.auth import check_binding, check_names, needs_token
from token_refresher.web.page.routes import blueprint
from token_refresher.web.page.standalone import LISTEN, serve
from token_refresher.web.source import Latest, Point, Source

__all__ = ["LISTEN", "Latest", "Point", "Source", "blueprint", "check_binding", "check_names", "needs_token", "serve"]
