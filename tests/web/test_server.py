"""What is served beside the page."""

from __future__ import annotations

from token_refresher.domain.policy import Policy
from token_refresher.platforms.http.call import steady
from token_refresher.web.history import State
from token_refresher.web.server import create_app, without_page


def test_without_a_page_the_root_says_how_to_get_one() -> None:
    app = create_app(State({}, Policy(), steady))
    without_page(app)
    answer = app.test_client().get("/")
    assert answer.status_code == 404
    assert "--token-file" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
