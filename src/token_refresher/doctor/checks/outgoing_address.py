"""From which address this machine goes out, as somebody outside sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from token_refresher.doctor.context import Bench, host_of, proxy_of
from token_refresher.doctor.finding import Finding, Light, speaker
from token_refresher.domain.addresses import platform_url
from token_refresher.domain.errors import PlatformError
from token_refresher.platforms.http.call import Call
from token_refresher.platforms.http.errors import describe
from token_refresher.platforms.http.transport import proxy_headers
from token_refresher.settings.values import Mistake

SETTING = "OUTGOING_ADDRESS_URL"
# An address has at most 39 characters; pages around one a little more.
_LONGEST = 2000
_ADDRESS = re.compile(r"(?<![0-9A-Fa-f:.])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})")


def outgoing(bench: Bench, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Ask the configured address, by the way that requests to the platform take."""
    say, given = speaker("platform address"), environ.get(SETTING, "")
    if not given:
        yield say(Light.GREY, f"not examined: {SETTING}, an address that answers with the caller's, is not set")
        return
    try:
        url = platform_url(given)
    except Mistake as mistake:
        yield say(Light.RED, f"{SETTING} {mistake}", f"correct {SETTING}, or leave it out")
        return
    policy = bench.settings.policy
    until = min(bench.clocks.until, bench.clocks.steady() + policy.request_total_s)
    call: Call[str] = Call(until, bench.clocks.steady)
    try:
        seen = call.run(lambda: _seen(bench, url))
    except PlatformError as error:
        why = error.what.partition(": ")[2] or "no answer in time"
        yield say(Light.YELLOW, f"{host_of(url)} does not tell: {why}", f"correct {SETTING}, or leave it out")
        return
    if not seen:
        yield say(Light.YELLOW, f"{host_of(url)} answers without an address", f"correct {SETTING}, or leave it out")
        return
    way = "the proxy" if proxy_of(url, bench.settings) else "this machine"
    yield say(Light.GREEN, f"{way} goes out from {seen}: this has to be on each application's IP white list")


def _seen(bench: Bench, url: str) -> str:
    """The first address in the answer, "" when there is none. Raises OSError with words of this machine."""
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def proxy_headers(self, proxy: str) -> dict[str, str]:
            return proxy_headers(proxy)

    settings, proxy = bench.settings, proxy_of(url, bench.settings)
    with requests.Session() as session:
        # Neither HTTP_PROXY nor .netrc: the way has to be the platform's.
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        try:
            with session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(settings.policy.connect_timeout_s, settings.policy.read_timeout_s),
                proxies={url.partition(":")[0]: proxy.reveal()} if proxy else {},
                verify=settings.ca_bundle or True,
            ) as answer:
                text = answer.raw.read(_LONGEST, decode_content=True).decode("ascii", "replace")
        except requests.RequestException as error:
            raise ConnectionError(0, describe(error)) from None
    for found in _ADDRESS.findall(text):
        try:
            return str(ip_address(found))
        except ValueError:
            continue
    return ""


def address_in(finding: Finding) -> str:
    """The address that a green finding names, "" in any other."""
    found = _ADDRESS.search(finding.says.partition("goes out from ")[2])
    return found[0].rstrip(":") if finding.light is Light.GREEN and found else ""
