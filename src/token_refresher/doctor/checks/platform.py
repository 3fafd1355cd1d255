"""The platform, application by application: is it reached, does it serve this address, is the secret right.

Nothing is fetched. checkCode is asked about the stored credentials, or about a credential made up for this; and a
login-free code made up for this is offered for exchange, which the platform can only refuse: by its word for the
code when the secret is right, by another one when it is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from token_refresher.doctor.checks.redis_server import clocks_apart
from token_refresher.doctor.context import CheckContext, Clocks, proxy_of
from token_refresher.doctor.finding import Check, Finding
from token_refresher.domain.errors import CATALOGUE, NotSentError, PlatformError, UnknownOutcomeError
from token_refresher.domain.model import App, Kind, Snapshot
from token_refresher.domain.platform_answer import Checked
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform

# What the advice for a run leaves open, for a person who sets things up.
_FIXES = {
    "no_answer": "check the network and the proxy: the platform, or a gateway before it, did not answer in time",
    "cut_answer": "check the network, the proxy, and that the address is the platform's: the connection broke",
    "bad_answer": "correct PLATFORM_BASE_URL (oauth_api in the file), or the proxy: another program answers there",
    "not_sent_tls": "set PLATFORM_CA_BUNDLE to the CA that signed it; check clock, proxy, and that the port speaks TLS",
    "not_sent_proxy": "correct address, user and password in PLATFORM_HTTPS_PROXY or PLATFORM_HTTP_PROXY, or start it",
    "not_sent_dns": "correct the host in PLATFORM_BASE_URL (oauth_api in the file), or this machine's name server",
}


@dataclass
class Answers:
    """What the platform said about one application: an answer or an error for each call."""

    app: App
    checked: dict[Kind, Checked | PlatformError] = field(default_factory=dict)
    # How far the platform's clock was ahead of this machine's when it answered (seconds).
    ahead_s: dict[Kind, float] = field(default_factory=dict)
    # The answer to the login-free code; None when even that was exchanged.
    exchanged: PlatformError | None = None

    @property
    def errors(self) -> list[PlatformError]:
        found = [each for each in self.checked.values() if isinstance(each, PlatformError)]
        return [*found, self.exchanged] if self.exchanged else found


def asked(app: App, snapshots: list[Snapshot], platform: YuanzhibangPlatform, clocks: Clocks) -> Answers:
    """Ask everything about one application. Raises nothing of our tree."""
    answers = Answers(app)
    live = {each.target.kind: each.live.code for each in snapshots if each.live}
    for kind, code in (live or {Kind.ACCESS_TOKEN: _made_up()}).items():
        try:
            answers.checked[kind] = checked = platform.check_code(app, kind, code, clocks.until)
            if checked.server_time is not None:
                # Date headers have whole seconds: on average half a second is cut off.
                answers.ahead_s[kind] = checked.server_time + 0.5 - clocks.wall()
        except PlatformError as error:
            answers.checked[kind] = error
            if isinstance(error, NotSentError):
                # The others would fail in the same way, after as long a wait.
                answers.exchanged = error
                return answers
    try:
        platform.exchange_login_code(app, _made_up(), clocks.until)
    except PlatformError as error:
        answers.exchanged = error
    return answers


def _made_up() -> str:
    """A credential that the platform never issued."""
    return f"doctor{os.urandom(8).hex()}"


def judged(context: CheckContext, answers: Answers) -> Iterator[Finding]:
    """What these answers mean."""
    about = answers.app.app_id
    lost = next((each for each in answers.errors if _lost(each)), None)
    yield _reached(context, answers.app, lost)
    unreached = isinstance(lost, NotSentError)
    check = Check("platform white list", about)
    refused = next((each for each in answers.errors if each.code in ("not_white_listed", "no_permission")), None)
    if unreached:
        yield check.grey("not examined: the platform was not reached")
    elif refused:
        proxied = proxy_of(answers.app.endpoints.check_code_url, context.settings)
        seen = ": the platform sees the address of the proxy" if proxied else ""
        yield check.red(refused.what, f"{CATALOGUE['not_white_listed'].advice}{seen}")
    elif _served(answers):
        yield check.green("the platform serves this address")
    else:
        yield check.grey("unknown: the platform gave no answer that shows it")
    yield from _secret(answers, unreached or refused is not None)


def _reached(context: CheckContext, app: App, lost: PlatformError | None) -> Finding:
    check, url = Check("platform reachable", app.app_id), app.endpoints.check_code_url
    proxy = proxy_of(url, context.settings)
    way = f"through the proxy {proxy.host}" if proxy else "directly"
    if lost is None:
        tls = ", TLS verified" if url.scheme == "https" else ""
        return check.green(f"{url.host} answers {way}{tls}")
    if lost.code == "not_sent_late":
        return check.grey("not examined: no time was left")
    # A refusal by the HTTP status alone, 404 for example, comes from something else too.
    fix = _FIXES.get("bad_answer" if lost.code == "platform_refused" else lost.code, lost.advice)
    if proxy is None and context.settings.proxies:
        fix += "; the proxy that is set is for other addresses: set PLATFORM_HTTPS_PROXY for https ones"
    says = lost.what if isinstance(lost, NotSentError) else f"{lost.what} ({url.host}, {way})"
    return check.red(says, fix)


def _lost(error: PlatformError) -> bool:
    """Whether the platform itself did not answer."""
    return isinstance(error, UnknownOutcomeError) or (error.status is None and error.code != "rate_limited")


def _served(answers: Answers) -> bool:
    """Whether the platform gave a definite answer that only a listed address gets."""
    spoke = any(isinstance(each, Checked) for each in answers.checked.values())
    return spoke or answers.exchanged is None or answers.exchanged.code == "code_invalid"


def _secret(answers: Answers, hidden: bool) -> Iterator[Finding]:
    check, error = Check("platform secret", answers.app.app_id), answers.exchanged
    if error is None:
        yield check.yellow("the platform took a made-up login-free code", "ask the platform's support why it did")
    elif error.code == "code_invalid":
        yield check.green("accepted: the platform refused only the made-up login-free code")
    elif error.code == "wrong_secret":
        yield check.red(error.what, error.advice)
    elif hidden or _lost(error) or error.code == "rate_limited":
        yield check.grey("unknown: the platform was not asked")
    else:
        yield check.red(error.what, _FIXES.get(error.code, error.advice))


def clock(context: CheckContext, answers: Answers) -> Finding:
    """The platform's clock by its Date header, against Redis's, by whose clock credentials expire."""
    check, one = Check("platform clock", answers.app.app_id), "the platform's clock"
    if not answers.ahead_s:
        return check.grey("not known: no answer with a Date header came")
    ahead_s = next(iter(answers.ahead_s.values()))
    if context.redis_ahead_s is None:
        return clocks_apart(check, one, "this machine's", ahead_s, context)
    return clocks_apart(check, one, "Redis's", ahead_s - context.redis_ahead_s, context)


def unused_proxies(context: CheckContext) -> Iterator[Finding]:
    """A slip of new users: the http or https in a setting's name is the platform's address, not the proxy's."""
    settings = context.settings
    schemes = {url.scheme for app in settings.apps for url in vars(app.endpoints).values()}
    for scheme in settings.proxies.keys() - schemes:
        says = f"PLATFORM_{scheme.upper()}_PROXY is set, but no address of the platform begins with {scheme}://"
        fix = "set PLATFORM_HTTPS_PROXY (proxies.https), which is for https:// addresses of the platform"
        if schemes - settings.proxies.keys():
            yield Check("platform reachable").yellow(says, fix)
