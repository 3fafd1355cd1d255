"""The status page in headless Chromium: how it looks, by keyboard alone, without script, under its own policy.

`python tests/e2e/test_page_browser.py FOLDER` makes the pictures of the documents.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask", reason="the extra `daemon` is not installed, so there is no page")
pytest.importorskip("selenium", reason="selenium is not installed, so no browser was asked")

from flask import Flask
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from support.guards import see
from support.page_reports import NAMES, NOW, failing, healthy, on_fire, with_history
from support.planted import plant
from token_refresher.domain.model import Kind, Secret
from token_refresher.domain.report import Report
from token_refresher.web.history import RunHistory
from token_refresher.web.page.auth import HEADERS
from token_refresher.web.page.routes import blueprint, with_headers
from token_refresher.web.server import HttpServer

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
# One browser at a time: it takes more memory than all else together.
pytestmark = [
    pytest.mark.skipif(
        not (_CHROMIUM and _DRIVER),
        reason="no chromium with chromedriver (Debian: apt install chromium chromium-driver)",
    ),
    pytest.mark.xdist_group("chromium"),
]

_OPTIONS = (
    "--headless=new --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
    " --disable-component-update --disable-dev-shm-usage --hide-scrollbars --force-device-scale-factor=1"
)
_WAIT_S = 20
_WARNING = f"someone else refreshes application 100044 too: 3 times within the hour, at {NOW - 100} (unix seconds)"
_LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 800, 320)]

# Of every element with text of its own: its words where colour and background are closer than WCAG's AA allows.
_FAINT = """
const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (el) => {
  for (; el; el = el.parentElement) {
    const found = numbers(getComputedStyle(el).backgroundColor);
    if (found.length < 4 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const faint = [];
for (const el of document.body.querySelectorAll("*")) {
  const own = [...el.childNodes].filter((n) => n.nodeType === 3 && n.data.trim()).map((n) => n.data.trim()).join(" ");
  if (!own || el.closest("noscript") || !el.getClientRects().length) continue;
  const style = getComputedStyle(el), [a, b] = [light(numbers(style.color)), light(behind(el))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) faint.push(own + " " + ratio.toFixed(2));
}
return faint;
"""


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser of its own, with nothing from earlier ones and no way outside."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        for option in [*_OPTIONS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(option)
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost")
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.binary_location = str(_CHROMIUM)
        # It logs what is typed, tokens too.
        logging.getLogger("selenium").setLevel(logging.WARNING)
        driver = webdriver.Chrome(options=options, service=Service(str(_DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture(scope="module")
def _lasting_browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(_lasting_browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A browser without cookies, wide and light; what it says on its console is looked at afterwards."""
    _lasting_browser.get("about:blank")
    _lasting_browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    look(_lasting_browser, "light", 1280)
    _lasting_browser.get_log("browser")
    yield _lasting_browser
    _lasting_browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    see("what the browser shows", _lasting_browser.page_source)


Serve = Callable[..., str]


@pytest.fixture
def serving() -> Iterator[Serve]:
    """Serve a page about a source; returns its address."""
    with ExitStack() as open_until_the_end:
        yield lambda *arguments, **more: open_until_the_end.enter_context(served(*arguments, **more)).url


def served(known: RunHistory, token: Secret | None = None, **more: Any) -> HttpServer:
    app = Flask("browser", static_folder=None)
    app.register_blueprint(blueprint(known, token=token, **more))
    app.after_request(with_headers)
    return HttpServer(app, "127.0.0.1", 0)


def burning() -> RunHistory:
    return with_history(on_fire(), (_WARNING,))


def look(driver: webdriver.Chrome, scheme: str, width: int, height: int = 900) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the console says that is worse than a hint; violations of the policy are among it."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def focused(driver: webdriver.Chrome) -> str:
    found: str = driver.execute_script("return document.activeElement.textContent.trim() || document.activeElement.id")
    return found


def press(driver: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(driver).send_keys(*keys).perform()


def tab_to(driver: webdriver.Chrome, words: str) -> None:
    """Go on by the Tab key until what has these words has the focus."""
    for _ in range(12):
        if focused(driver) == words:
            return
        press(driver, Keys.TAB)
    raise AssertionError(f"Tab does not reach {words!r}")


def wait_for(driver: webdriver.Chrome, condition: Callable[[webdriver.Chrome], object]) -> None:
    WebDriverWait(driver, _WAIT_S, poll_frequency=0.05).until(condition)


# -- how it looks ----------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "width"), _LOOKS)
@pytest.mark.parametrize("made", [lambda: with_history(healthy()), burning], ids=["healthy", "on fire"])
def test_it_fits_can_be_read_and_violates_nothing(
    browser: webdriver.Chrome, serving: Serve, tmp_path: Path, scheme: str, width: int, made: Callable[[], RunHistory]
) -> None:
    look(browser, scheme, width)
    browser.get(serving(made()))
    assert complaints(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(_FAINT) == []
    picture = tmp_path / "page.png"
    assert browser.save_screenshot(str(picture))
    assert struct.unpack(">I", picture.read_bytes()[16:20]) == (width,)


def test_dark_is_dark_and_light_is_light(browser: webdriver.Chrome, serving: Serve) -> None:
    browser.get(serving(with_history(healthy())))
    colours = {}
    for scheme in ("light", "dark"):
        look(browser, scheme, 1280)
        colours[scheme] = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colours == {"light": "rgb(244, 245, 247)", "dark": "rgb(15, 18, 22)"}


def test_hostile_names_do_nothing_in_a_browser(browser: webdriver.Chrome, serving: Serve) -> None:
    name = "</bdi><script>window.hacked=1</script><img src=x onerror='window.hacked=1'><style>*{display:none}</style>"
    known = with_history([failing("100027", Kind.ACCESS_TOKEN, "platform_refused", name)], (name,), {"100027": name})
    browser.get(serving(known))
    assert complaints(browser) == []
    assert browser.execute_script("return window.hacked") is None
    assert browser.find_element(By.CSS_SELECTOR, ".name").text == name[:80][:79] + "…"


def test_the_policy_stops_whatever_gets_into_the_page_all_the_same(browser: webdriver.Chrome, serving: Serve) -> None:
    browser.get(serving(with_history(healthy())))
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);"
    )
    assert browser.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in each for each in complaints(browser))


@pytest.mark.parametrize("width", [1280, 320])
def test_assistive_technology_is_told_the_same_at_every_width(
    browser: webdriver.Chrome, serving: Serve, width: int
) -> None:
    look(browser, "light", width)
    browser.get(serving(burning()))
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    roles = [role for role, _ in told]
    for role, count in (("banner", 1), ("main", 1), ("navigation", 1), ("contentinfo", 1), ("table", 1), ("meter", 6)):
        assert roles.count(role) == count, role
    assert [name for role, name in told if role == "columnheader"] == [
        *("Credential", "Time left", "State and reason", "Last outcome", "Last 24 hours")
    ]
    # A row for the head, one for each application, each credential, and what to do about it.
    assert roles.count("row") == 1 + len(NAMES) + 6 + 5
    assert next(name for role, name in told if role == "heading") == "3 of 6 credentials need you"
    pictures = [name for role, name in told if role in ("image", "img")]
    assert len(pictures) == 6
    assert all(name.startswith("Time left: ") for name in pictures)


def test_nothing_moves_for_those_who_want_no_motion(browser: webdriver.Chrome, serving: Serve) -> None:
    browser.get(serving(with_history(healthy())))
    moves = "getComputedStyle(each).transitionDuration !== '0s'"
    moving = f"return [...document.querySelectorAll('*')].filter((each) => {moves}).length"
    assert browser.execute_script(moving) == 0


# -- by keyboard alone -----------------------------------------------------------------------


def test_by_keyboard_alone_one_signs_in_asks_for_a_run_pauses_and_signs_out(
    browser: webdriver.Chrome, serving: Serve
) -> None:
    token, asked = plant("token-for-the-keyboard"), []
    browser.get(serving(burning(), Secret(token), refresh=lambda: asked.append(1)))
    assert focused(browser) == "token"
    press(browser, "no-such-token-at-all", Keys.ENTER)
    wait_for(browser, lambda driver: driver.find_elements(By.ID, "wrong"))
    complaints(browser)
    press(browser, token, Keys.ENTER)
    wait_for(browser, lambda driver: driver.find_elements(By.ID, "live-top"))
    tab_to(browser, "Refresh now")
    ring = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    press(browser, Keys.ENTER)
    wait_for(browser, lambda driver: "A run was asked for" in driver.page_source)
    assert asked == [1]
    wait_for(browser, lambda driver: "asked" not in driver.current_url)
    tab_to(browser, "Pause updates")
    press(browser, Keys.ENTER)
    wait_for(browser, lambda driver: "Resume updates" in driver.page_source)
    tab_to(browser, "Sign out")
    press(browser, Keys.ENTER)
    wait_for(browser, lambda driver: driver.find_elements(By.ID, "token"))
    assert complaints(browser) == []


def test_the_first_stop_of_the_tab_key_skips_to_the_credentials(browser: webdriver.Chrome, serving: Serve) -> None:
    browser.get(serving(burning()))
    press(browser, Keys.TAB)
    assert focused(browser) == "Skip to the credentials"
    assert browser.execute_script("return document.activeElement.getBoundingClientRect().left") >= 0
    press(browser, Keys.ENTER)
    wait_for(browser, lambda driver: driver.execute_script("return document.activeElement.id") == "credentials")


# -- keeping itself fresh --------------------------------------------------------------------

_UPDATE = "document.dispatchEvent(new Event('visibilitychange'))"


def test_it_updates_itself_in_place_and_says_what_changed(browser: webdriver.Chrome, serving: Serve) -> None:
    known = with_history(healthy())
    browser.get(serving(known))
    browser.execute_script("window.same = 1; document.getElementById('credentials').focus()")
    known.add(Report("a" * 16, "refresh", NOW, 5, tuple(on_fire())), "danger")
    browser.execute_script(_UPDATE)
    wait_for(browser, lambda driver: driver.title.startswith("3 in trouble"))
    assert browser.find_element(By.ID, "headline").text == "3 of 6 credentials need you"
    assert browser.execute_script("return window.same") == 1
    assert browser.find_element(By.ID, "icon").get_attribute("href").endswith("icon-bad.svg")
    assert browser.find_element(By.ID, "announced").get_attribute("textContent") == "3 of 6 credentials need you"
    assert browser.execute_script("return document.activeElement.id") == "credentials"
    assert complaints(browser) == []


def test_a_page_whose_server_is_gone_says_that_it_is_old(browser: webdriver.Chrome) -> None:
    with served(with_history(healthy())) as endpoint:
        browser.get(endpoint.url)
        assert not browser.find_element(By.ID, "offline").is_displayed()
    browser.execute_script(_UPDATE)
    wait_for(browser, lambda driver: driver.find_element(By.ID, "offline").is_displayed())
    assert "what it shows is old" in browser.find_element(By.ID, "offline").text


def test_without_script_all_of_it_is_there_and_the_page_reloads_itself(
    browser: webdriver.Chrome, serving: Serve
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    token, asked = Secret(plant("token-without-script")), []
    browser.get(serving(burning(), token, refresh=lambda: asked.append(1)))
    browser.find_element(By.ID, "token").send_keys(token.reveal(), Keys.ENTER)
    wait_for(browser, lambda driver: driver.find_elements(By.ID, "headline"))
    assert browser.find_element(By.ID, "headline").text == "3 of 6 credentials need you"
    assert len(browser.find_elements(By.CSS_SELECTOR, "[role=meter]")) == 6
    reload = browser.find_element(By.CSS_SELECTOR, "meta[http-equiv=refresh]")
    assert reload.get_attribute("content") == "30; url=/"
    browser.find_element(By.CSS_SELECTOR, "nav .primary").click()
    wait_for(browser, lambda driver: "A run was asked for" in driver.page_source)
    assert asked == [1]


def test_the_strict_policy_reached_the_browser(browser: webdriver.Chrome, serving: Serve) -> None:
    url = serving(with_history(healthy()))
    browser.get(url)
    read = "return fetch(location.href).then((answer) => answer.headers.get('Content-Security-Policy'))"
    assert browser.execute_script(read) == HEADERS["Content-Security-Policy"]


# -- the picture in the documents ------------------------------------------------------------


def _picture(file: Path) -> None:
    """The page with trouble, as docs/how-to/status-page.md shows it."""
    with chromium() as driver, served(burning()) as fire:
        look(driver, "light", 1280, 900)
        driver.get(fire.url)
        driver.save_screenshot(str(file))


if __name__ == "__main__":
    _picture(Path(sys.argv[1]))
