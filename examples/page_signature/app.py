"""A small web service whose page calls `yzb.core.config`.

    pip install flask /path/to/token-refresher
    APP_ID=your_app_id REDIS_URL=redis://127.0.0.1:6379/0 flask --app examples/page_signature/app.py run

The page asks for the signature of the address that the browser shows: behind a proxy the service may not know it.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify, render_template, request

from token_refresher import Reader
from token_refresher.domain.errors import NoCredentialError, SigningError

APP_ID = os.environ["APP_ID"]
# What the browser shows before the page's path, such as https://shop.example. Set it behind a proxy that ends TLS: this
# service sees http:// there. The service signs only addresses that begin like this, so that other sites cannot use it.
PAGE_ORIGIN = os.environ.get("PAGE_ORIGIN", "").rstrip("/")
# The platform's script, which defines `yzb`, at the address that its documentation gives.
BRIDGE_JS_URL = os.environ.get(
    "BRIDGE_JS_URL", "https://static.yuanzhibang.com/app/open/js/bridge/js-yzb-bridge-v0.0.41.js"
)
# The platform's functions that the page calls.
JS_API_LIST = os.environ.get("JS_API_LIST", "core.requestAuthCode").split(",")

app = Flask(__name__)
# One reader for the whole process. Forked processes may share it.
reader = Reader.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@app.get("/")
def page() -> str:
    return render_template("page.html", bridge_js_url=BRIDGE_JS_URL, js_api_list=JS_API_LIST)


@app.get("/signature")
def signature() -> Any:
    """What the page at `?url=` passes to `yzb.core.config`, besides its `js_api_list`."""
    url, own = request.args.get("url", ""), f"{PAGE_ORIGIN}/" if PAGE_ORIGIN else request.host_url
    if not url.startswith(own):
        advice = "set PAGE_ORIGIN to what the browser shows before the path (needed behind a proxy that ends TLS)"
        return jsonify(error=f"this service signs its own pages only, which begin with {own}: {advice}"), 400
    try:
        answer = jsonify(reader.core_config(APP_ID, url))
    except SigningError as error:
        return jsonify(error=str(error)), 400
    except NoCredentialError:
        app.logger.exception("no ticket to sign with")
        return jsonify(error="no ticket is stored at the moment"), 503, {"Retry-After": "60"}
    # The ticket changes while pages are open, so each page load gets a new signature.
    answer.headers["Cache-Control"] = "no-store"
    return answer
