"""The form says what Grid Engine thinks of it: soon after each change, for eyes and ears, and never in the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .test_form_page import CONTRAST, STILL

if TYPE_CHECKING:
    from .pages import Browser
    from .paper_cluster import PaperCluster

TAKEN = 'Job 4 (-l gpu=1) cannot run at host "node03" because it offers only hc:gpu=0.000000'
EVIL = '<img src=x onerror="document.title=1"> & "quotes"'
SENTENCE = "#verdict-sentence"


# The clock can be put forward, and what the page would do after a minute or later it does after a second.
QUICK = """
window.ahead = 0;
const now = Date.now, later = window.setTimeout;
Date.now = () => now() + window.ahead;
window.setTimeout = (what, pause, ...more) => later(what, pause >= 60000 ? 1000 : pause, ...more);
"""
WATCH = """
window.kinds = [];
new MutationObserver(() => window.kinds.push(document.getElementById("verdict").dataset.kind))
  .observe(document.getElementById("verdict"), {attributes: true, attributeFilter: ["data-kind"]});
"""
HIDE = "Object.defineProperty(document, 'hidden', {configurable: true, value: true})"
SEE = "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
QUESTIONS = "return performance.getEntriesByType('resource').filter(one => one.name.includes('/verdict/')).length"


# Answers are kept for seconds, so that each test opens the form with a runtime of its own.


def says(page: Browser, words: str) -> None:
    page.until(lambda: words in page.text(SENTENCE))


def kind(page: Browser) -> str:
    return str(page.one("#verdict").get_attribute("data-kind"))


def test_the_form_asks_once_it_is_there_and_after_each_change(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """Once for what is typed without a pause, not at all for what is the same as before."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:01")
    says(page, "Could start now.")
    assert (kind(page), len(cluster.verified())) == ("now", 1)
    assert not page.one("#verdict details").is_displayed()
    page.one("[name=memory]").send_keys("0")  # 20G
    page.one("[name=memory]").clear()
    page.one("[name=memory]").send_keys("3G")
    page.until(lambda: len(cluster.verified()) == 2)
    says(page, "Could start now.")
    page.one("[name=cores]").click()  # leaving a field is no change
    time.sleep(0.8)
    assert len(cluster.verified()) == 2
    assert page.complaints() == []


def test_what_is_in_the_way_is_said_and_the_original_is_one_click_away(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """Grid Engine's own lines are text, whatever they hold."""
    cluster.say("verify-p", f"{TAKEN}\n{EVIL}")
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:02")
    page.fill(gpus="1", queue="gpu.q")
    says(page, "Would wait: no host of gpu.q has GPUs free now.")
    assert kind(page) == "waits"
    page.one("#verdict summary").click()
    page.until(lambda: page.one("#verdict-details").is_displayed())
    assert page.text("#verdict-details").splitlines() == [TAKEN, EVIL]
    assert page.driver.title != "1"
    cluster.say("verify-v", TAKEN)
    page.fill(memory="3G")
    says(page, "Can never run: no host of gpu.q has GPUs.")
    assert kind(page) == "never"
    page.fill(cores="99")
    says(page, "At most 8 cores in queue gpu.q.")
    assert (kind(page), page.one("#verdict details").is_displayed()) == ("refused", False)


def test_an_answer_that_comes_late_is_not_shown(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """What stands on the page is about what stands in the form."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:03")
    says(page, "Could start now.")
    cluster.say("silent", "1.5")
    cluster.say("verify-p", TAKEN)
    page.fill(memory="5G")
    page.until(lambda: kind(page) == "asking")
    page.until(lambda: len(cluster.verified()) == 2)
    page.fill(memory="99T")
    says(page, "At most 64G of memory")
    time.sleep(2)
    assert kind(page) == "refused"


def test_a_silent_cluster_leaves_the_form_as_it_is(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """It is said in time, and Start works."""
    cluster.say("silent", "7")
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:04")
    assert page.one("#start-session").is_enabled()
    says(page, "Grid Engine is not answering; you can press Start all the same.")
    assert kind(page) == "unknown"
    before = cluster.submitted()
    page.start()
    page.until(lambda: len(cluster.submitted()) == len(before) + 1)
    for number in set(cluster.submitted()) - set(before):
        cluster.end(number)
    page.until(lambda: "ended before its server was ready" in page.text(), seconds=30)


@pytest.mark.usefixtures("cluster")
def test_a_hub_that_does_not_answer_leaves_the_form_as_it_is(browser: Callable[..., Browser]) -> None:
    """The page says who is silent, and asks again after the next change."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:05")
    says(page, "Could start now.")
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/sgehub/verdict/*"]})
    page.fill(memory="6G")
    says(page, "The hub did not answer; you can press Start all the same.")
    page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page.fill(memory="7G")
    says(page, "Could start now.")


def questions(page: Browser) -> int:
    return int(page.driver.execute_script(QUESTIONS))


def test_an_open_form_does_not_grow_old(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """It asks again while somebody sees it and uses it; the old sentence stays until the new one is there."""
    page = browser("games")
    page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": QUICK})
    page.open("hub/spawn?opt-runtime=00:20:20")
    says(page, "Could start now.")
    page.driver.execute_script(WATCH)
    cluster.say("verify-p", TAKEN)
    page.until(lambda: kind(page) == "waits", seconds=25)  # the hub keeps an answer for 15 s
    assert set(page.driver.execute_script("return window.kinds")) == {"now", "waits"}

    page.driver.execute_script(HIDE)
    time.sleep(1)  # for a question that is on its way
    asked = questions(page)
    time.sleep(3)
    assert questions(page) == asked
    page.driver.execute_script(SEE)
    time.sleep(0.6)
    assert questions(page) == asked, "an answer of this moment is not asked for again"
    page.driver.execute_script(f"{HIDE}; window.ahead += 20000; {SEE}")
    page.until(lambda: questions(page) > asked)

    page.driver.execute_script("window.ahead += 31 * 60000")
    says(page, "Grid Engine was asked a while ago, and is asked again as soon as you use this page.")
    asked = questions(page)
    time.sleep(3)
    assert (kind(page), questions(page)) == ("unknown", asked)
    page.one("label").click()
    says(page, "Would wait:")
    assert page.complaints() == []


@pytest.mark.usefixtures("cluster")
def test_who_is_logged_out_hears_so(browser: Callable[..., Browser]) -> None:
    """It is not the hub that is silent; whoever comes back from logging in need not change anything."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:21")
    says(page, "Could start now.")
    cookies = [one for one in page.driver.get_cookies() if one["name"] == "jupyterhub-hub-login"]
    page.driver.delete_cookie("jupyterhub-hub-login")
    page.fill(memory="8G")
    says(page, "You are logged out: log in again in another tab, then come back.")
    assert kind(page) == "unknown"
    for one in cookies:
        page.driver.add_cookie(one)
    page.driver.execute_script("window.dispatchEvent(new Event('focus'))")
    says(page, "Could start now.")


@pytest.mark.usefixtures("cluster")
def test_fields_that_come_later_count(browser: Callable[..., Browser]) -> None:
    """A site's own form, or a part of the page that adds fields, needs no word about this."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:06")
    says(page, "Could start now.")
    page.driver.execute_script(
        "var f = document.createElement('input'); f.name = 'nodes';document.getElementById('spawn_form').append(f)"
    )
    page.fill(nodes="2")
    says(page, 'There is no field "nodes".')


@pytest.mark.usefixtures("cluster")
def test_a_form_that_was_refused_does_not_say_it_twice(browser: Callable[..., Browser]) -> None:
    """The reasons stand beside the fields; the next change is judged again."""
    page = browser("games")
    page.open("hub/spawn?opt-runtime=00:20:07")
    page.fill(cores="99")
    page.start()
    time.sleep(0.8)
    assert not page.one("#verdict").is_displayed()
    page.fill(cores="2")
    says(page, "Could start now.")


def test_without_javascript_there_is_nothing_to_see(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """No empty box, and nobody is asked."""
    page = browser("games", javascript=False)
    page.open("hub/spawn?opt-runtime=00:20:08")
    time.sleep(0.8)
    assert not page.one("#verdict").is_displayed()
    assert cluster.verified() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_verdict_can_be_read_and_heard(
    browser: Callable[..., Browser], cluster: PaperCluster, theme: str
) -> None:
    """A sign and words beside the colour, contrast of 4.5, announced politely; the page stays within its width."""
    page = browser("games", width=390)
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    page.open(f"hub/spawn?opt-runtime=00:20:{10 + len(theme)}")
    says(page, "Could start now.")
    page.driver.execute_script(STILL)
    signs = set()
    line = f"{TAKEN}\n" * 3
    for number, (now, ever, words) in enumerate(
        [
            ("", "", "Could start"),
            (line, "", "Would wait"),
            (line, line, "Can never run"),
            ("cl_com: got send error", "", "not answering"),
        ]
    ):
        cluster.say("verify-p", now)
        cluster.say("verify-v", ever)
        page.fill(memory=f"{number + 3}G")
        says(page, words)
        box = page.one("#verdict")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
        signs.add(
            page.driver.execute_script(
                "return getComputedStyle(document.querySelector('.sgehub-mark'), '::before').content"
            )
        )
        if page.one("#verdict details").is_displayed():
            page.driver.execute_script("document.querySelector('#verdict details').open = true")
        ratio, element = page.driver.execute_script(
            CONTRAST, "#verdict p, .sgehub-mark, #verdict summary, #verdict pre"
        )
        assert ratio >= 4.5, element
        assert box.is_displayed()
    assert len(signs) == 4
    status = page.one(SENTENCE)
    assert (status.get_attribute("role"), status.get_attribute("aria-live")) == ("status", "polite")
