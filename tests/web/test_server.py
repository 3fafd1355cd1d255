"""What is served beside the page."""

from __future__ import annotations

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.policy import Policy
from token_refresher.web.history import RunHistory
from token_refresher.web.server import create_app, without_page


def test_without_a_page_the_root_says_how_to_get_one() -> None:
    app = create_app(RunHistory({}, Policy(), steady_clock))
    without_page(app)
    answer = app.test_client().get("/")
    assert answer.status_code == 404
    assert "--token-file" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
