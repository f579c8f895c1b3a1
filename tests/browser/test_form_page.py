"""The form as people use it: on a desk and on a phone, by keys alone, in the dark, and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

    from .pages import Browser
    from .paper_cluster import PaperCluster

FRESH = {"cores": "1", "gpus": "0", "memory": "2G", "runtime": "01:00:00", "queue": ""}
BAD = {"cores": "4 apples", "gpus": "-1", "memory": "lots", "runtime": "soon"}

# The lowest contrast of text with what is behind it, for all texts below an element. WCAG 2.2, 1.4.3.
CONTRAST = """
function rgb(text) { var n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? n.concat(1) : n; }
function light(c) {
  var l = c.slice(0, 3).map(function (v) {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
  });
  return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
}
function over(top, below) {
  return [0, 1, 2].map(function (i) { return top[i] * top[3] + below[i] * (1 - top[3]); }).concat(1);
}
function behind(e) {
  if (!e) { return [255, 255, 255, 1]; }
  var own = rgb(getComputedStyle(e).backgroundColor);
  return own[3] === 1 ? own : over(own, behind(e.parentElement));
}
var worst = [99, ""];
document.querySelectorAll(arguments[0]).forEach(function (e) {
  if (!e.innerText && !e.value) { return; }
  var back = behind(e), a = light(over(rgb(getComputedStyle(e).color), back)), b = light(back);
  var ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < worst[0]) { worst = [ratio, e.outerHTML.slice(0, 200)]; }
});
return worst;
"""
TEXTS = "h1, label, .form-control, .form-select, .form-text, .invalid-feedback, .alert, .alert a, #start-session"
STILL = """
var style = document.createElement("style");
style.textContent = "* { transition: none !important }";
document.head.append(style);
"""


def refused(page: Browser, path: str = "hub/spawn") -> None:
    page.open(path)
    page.fill(**BAD)
    page.start()


def focused(page: Browser) -> WebElement:
    return page.driver.switch_to.active_element


def press(page: Browser, *keys: str) -> None:
    ActionChains(page.driver).send_keys(*keys).perform()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_is_whole(browser: Callable[..., Browser], cluster: PaperCluster, width: int) -> None:
    """Nothing is cut off at the side, no script complains, and nothing comes from elsewhere."""
    page = browser("games", width=width)
    refused(page)
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    page.open("hub/spawn")
    assert page.values() | FRESH == page.values()
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    for name in FRESH:
        field = page.one(f"[name={name}]")
        assert field.rect["height"] >= 24
        page.one(f"label[for={field.get_attribute('id')}]").click()
        assert focused(page) == field
    loaded = page.driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded
    assert [address for address in loaded if not address.startswith((page.url, "data:"))] == []
    assert [one for one in page.complaints() if "400 (Bad Request)" not in one] == []
    assert cluster.submitted() == []


@pytest.mark.parametrize("path", ["hub/spawn", "hub/spawn/games/third"])
def test_a_refusal_leads_to_the_fields(browser: Callable[..., Browser], path: str) -> None:
    """All values stand, each reason is beside its field, and the page begins at what is wrong."""
    page = browser("games")
    refused(page, path)
    assert page.values() | BAD == page.values()
    assert set(page.reasons()) == set(BAD)
    assert focused(page).get_attribute("id") == "request-refused"
    for name in BAD:
        field, reason = page.one(f"[name={name}]"), page.one(f"#request-{name}-reason")
        assert field.rect["y"] < reason.rect["y"] < field.rect["y"] + field.rect["height"] + 12
        assert abs(field.rect["x"] - reason.rect["x"]) < 2
    page.one("#request-refused a[href='#request-runtime']").click()
    press(page, Keys.TAB)
    assert focused(page).get_attribute("name") in {"runtime", "queue"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(browser: Callable[..., Browser], theme: str) -> None:
    """Contrast is at least 4.5 in both themes, with reasons and with a notice."""
    page = browser("games")
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    refused(page)
    page.driver.execute_script(STILL)
    assert page.one("html").get_attribute("data-bs-theme") == theme
    ratio, element = page.driver.execute_script(CONTRAST, TEXTS)
    assert ratio >= 4.5, element
    page.open("hub/spawn?opt-cores=2")
    page.driver.execute_script(STILL)
    assert "alert-info" in str(page.one(".alert").get_attribute("class"))
    ratio, element = page.driver.execute_script(CONTRAST, TEXTS)
    assert ratio >= 4.5, element


def test_the_keyboard_suffices(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """Tab reaches every field in the order of reading, and Start; Enter in a field starts too."""
    page = browser("games")
    page.open("hub/spawn")
    page.one("h1").click()
    order = []
    for _ in range(30):
        press(page, Keys.TAB)
        element = focused(page)
        name = element.get_attribute("name") or element.get_attribute("id")
        order.append(name)
        if name == "start-session":
            break
        assert page.driver.execute_script(
            "var s = getComputedStyle(arguments[0]); return s.outlineStyle !== 'none' || s.boxShadow !== 'none'",
            element,
        ), f"{name} does not show that it has the focus"
        if name == "cores":
            press(page, "0")
        elif name == "queue":
            press(page, "gpu")
    assert order[-6:] == ["cores", "gpus", "memory", "runtime", "queue", "start-session"]
    left = page.one("html")
    press(page, Keys.ENTER)
    page.until(
        lambda: page.driver.execute_script("return document.readyState") == "complete" and left != page.one("html")
    )
    assert page.values() | {"cores": "0", "queue": "gpu.q"} == page.values()
    assert page.reasons() == {"cores": "A session needs at least 1 core."}
    assert cluster.submitted() == []


def test_the_form_needs_no_javascript(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """It is refused, mended and started without; the page that waits refreshes itself."""
    before = cluster.submitted()
    page = browser("lp", javascript=False)
    refused(page)
    assert page.values() | BAD == page.values()
    assert set(page.reasons()) == set(BAD)
    assert page.one("#noscript").value_of_css_property("display") == "none"  # JupyterHub's demand for JavaScript
    page.fill(cores="2", gpus="0", memory="2G", runtime="00:30:00")
    page.start()
    page.until(lambda: "/hub/spawn-pending/lp" in page.driver.current_url)
    assert page.one("#pending noscript").rect["height"] > 0  # says that the page asks again
    assert not page.one("#cancel").is_displayed()
    (number,) = set(cluster.submitted()) - set(before)
    cluster.end(number)
    page.until(lambda: "ended before its server was ready" in page.text(), seconds=30)
    assert page.one("#start").get_attribute("href") == f"{page.url}hub/spawn/lp"


def test_pressing_start_twice_starts_once(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """The button rests while the answer is awaited, and comes back with the page."""
    before = cluster.submitted()
    cluster.say("slow", "0.5")
    page = browser("news")
    page.open("hub/spawn")
    page.driver.execute_script(
        "var b = document.getElementById('start-session'); b.click(); b.click(); b.click();"
    )
    page.until(lambda: "/hub/spawn-pending/news" in page.driver.current_url)
    page.until(lambda: len(cluster.submitted()) > len(before))
    assert len(cluster.submitted()) == len(before) + 1
    page.until(lambda: page.one("#cancel").is_displayed())
    page.one("#cancel").click()
    page.until(lambda: page.driver.current_url.endswith("/hub/spawn/news"))
    assert page.one("#start-session").is_enabled()
