"""A web service whose page calls `core.config`: the smallest one that does it right.

    pip install flask token-refresher
    APP_ID=your_app_id REDIS_URL=redis://127.0.0.1:6379/0 flask --app examples/page_signature/app.py run

The page asks for the signature of its own address, as the browser names it: behind a proxy the service may not know it.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify, render_template, request

from token_refresher import Reader
from token_refresher.errors import NoCodeError, SigningError

APP_ID = os.environ["APP_ID"]
# Only addresses that begin like this are signed: a signature for somebody else's page is none of our business.
ORIGIN = os.environ.get("PAGE_ORIGIN", "")
# Where the platform's documentation says its JavaScript is.
CORE_JS_URL = os.environ.get("CORE_JS_URL", "")

app = Flask(__name__)
# One reader for the whole process; it may be made before the server forks.
reader = Reader.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@app.get("/")
def page() -> str:
    return render_template("page.html", core_js_url=CORE_JS_URL)


@app.get("/signature")
def signature() -> Any:
    """What the page at `?url=` passes to `core.config`."""
    url = request.args.get("url", "")
    if not url.startswith(ORIGIN.rstrip("/") + "/" if ORIGIN else request.host_url):
        return jsonify(error="this service signs its own pages only"), 400
    try:
        answer = jsonify(reader.core_config(APP_ID, url))
    except SigningError as error:
        return jsonify(error=str(error)), 400
    except NoCodeError:
        app.logger.exception("no ticket to sign with")
        return jsonify(error="no ticket is stored at the moment"), 503, {"Retry-After": "60"}
    # A ticket is replaced while pages are open: each page load gets a fresh signature.
    answer.headers["Cache-Control"] = "no-store"
    return answer
