"""Grid Engine's verdict on a form, from a real cluster: true, told as the person asked, and never in the way."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sgehub.lab.cluster import Lab
from sgehub.model.verdict import SILENT
from tests.lab.conftest import Site, running_hub
from tests.lab.person import Person
from tests.lab.test_browser import driver, until
from tests.lab.test_lab_cluster import submit, wait_gone

__all__ = ["driver"]  # a fixture
MORE_THAN_THERE_IS = {
    "short.q": {"cores": 16, "memory": "64G", "gpus": 0, "runtime": "01:00:00"},
    "long.q": {"cores": 16, "memory": "4000G", "gpus": 0, "runtime": "48:00:00"},
    "gpu.q": {"cores": 8, "memory": "64G", "gpus": 2, "runtime": "08:00:00"},
}
# Milliseconds from the start of the page: its first paint, its first question.
PAINTED = """
return [performance.getEntriesByName("first-contentful-paint")[0].startTime,
        performance.getEntriesByType("resource").filter(e => e.name.includes("/verdict/"))[0].startTime];
"""
# Milliseconds from a change of the memory to the sentence about it.
CHANGE = """
const [memory, done] = arguments, field = document.querySelector("[name=memory]");
const box = document.getElementById("verdict"), begun = performance.now();
let asked = false;
new MutationObserver((_, observer) => {
  asked = asked || box.dataset.kind === "asking";
  if (asked && box.dataset.kind === "now") { observer.disconnect(); done(performance.now() - begun); }
}).observe(box, {attributes: true});
field.value = memory;
field.dispatchEvent(new Event("input", {bubbles: true}));
"""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Run a hub whose file offers more memory than any host has."""
    with running_hub(lab, site={"queues": MORE_THAN_THERE_IS}) as running:
        yield running


def ask(person: Person, **fields: str) -> dict[str, Any]:
    """Ask as a script of the person's does; the fields that are left out are the site's defaults."""
    answer = person.api("POST", f"/sgehub/verdict/{person.name}", fields)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_what_there_is_room_for_could_start(site: Site) -> None:
    """Asked by cookie, as the page does; no job and no file is left of it."""
    alice = site.person("alice")
    alice.open("/hub/spawn")
    answer = alice.open(
        "/hub/api/sgehub/verdict/alice",
        json.dumps({"cores": "2", "memory": "3G"}).encode(),
        X_XSRFToken=alice.xsrf(),
        Content_Type="application/json",
        Sec_Fetch_Mode="cors",
    )
    assert (answer.status, answer.json) == (200, {"kind": "now", "sentence": "Could start now.", "details": []})
    assert site.jobs() == []
    assert not (site.home("alice") / ".sgehub").exists()


def test_what_others_use_would_be_waited_for(site: Site) -> None:
    """All GPUs are another's: the queue and the GPUs are named, with Grid Engine's own line."""
    alice = site.person("alice")
    job = submit(site.lab, "sleep 120", "-l", "gpu=2", "-q", "gpu.q", user="bob")
    until = time.monotonic() + 30
    while "r" not in site.qstat("-u", "bob", "-s", "r"):
        assert time.monotonic() < until
        time.sleep(0.2)
    try:
        found = ask(alice, gpus="1", queue="gpu.q")
        assert (found["kind"], found["sentence"]) == ("waits", "Would wait: no host of gpu.q has GPUs free now.")
        assert any("it offers only hc:gpu=0" in line for line in found["details"])
        found = ask(alice, gpus="1", cores="2", memory="4G")
        assert found["kind"] == "waits"
        assert "2 cores, 4G of memory and 1 GPU together" in found["sentence"]
    finally:
        site.lab.run("head", ["qdel", job])
        wait_gone(site.lab, [job])
    assert ask(alice, gpus="1", queue="gpu.q", memory="3G")["kind"] == "now"


def test_what_no_host_has_can_never_run(site: Site) -> None:
    """The site's file allows it, so that only the cluster can say so."""
    found = ask(site.person("alice"), memory="1000G")
    assert found["kind"] == "never"
    assert found["sentence"] == "Can never run: the hosts of long.q have at most 64G of memory, not 1000G."
    assert len([line for line in found["details"] if "hc:h_vmem=64.000G" in line]) == 3
    found = ask(site.person("alice"), memory="1000G", cores="4")
    assert "parallel environment smp has no place for 4 cores and 1000G of memory together" in found["sentence"]


def test_grid_engine_is_asked_as_the_person(site: Site) -> None:
    """A queue that is closed to bob is closed in bob's form, and open in alice's."""
    site.lab.run("head", ["qconf", "-rattr", "queue", "user_lists", "astro", "long.q"])
    try:
        bob = ask(site.person("bob"), queue="long.q")
        assert (bob["kind"], bob["sentence"]) == ("never", "Can never run: long.q is not open to bob.")
        assert ask(site.person("alice"), queue="long.q")["kind"] == "now"
    finally:
        site.lab.run("head", ["qconf", "-rattr", "queue", "user_lists", "NONE", "long.q"])


def test_what_the_policy_refuses_is_said_as_at_start(site: Site) -> None:
    """Nobody is asked for it."""
    alice = site.person("alice")
    found = ask(alice, cores="17")
    assert found == {"kind": "refused", "sentence": alice.start({"cores": "17"}).json["message"], "details": []}


def test_an_answer_comes_in_a_fraction_of_a_second(site: Site) -> None:
    """From the POST to the answer, each time another question; printed for both kinds of answer."""
    alice = site.person("alice")
    for words, fields in (("now", {}), ("never", {"memory": "2000G"})):
        taken = []
        for number in range(20):
            begun = time.monotonic()
            found = ask(alice, runtime=f"00:{number + 10}:00", **fields)
            taken.append(time.monotonic() - begun)
            assert found["kind"] == words
        median = statistics.median(taken)
        print(f"\n{words}: median of {len(taken)}: {median * 1000:.0f} ms, longest {max(taken) * 1000:.0f} ms")
        assert median < 0.7  # with the page's pause of 0.3 s that is a second


def test_the_page_shows_it_within_a_second_and_paints_before(site: Site, driver: webdriver.Chrome) -> None:
    """From the last change to the sentence, in a real browser; the question comes after the first paint."""
    driver.get(f"{site.url}/hub/login")
    driver.find_element(By.NAME, "username").send_keys("alice")
    driver.find_element(By.NAME, "password").send_keys("alice", Keys.ENTER)
    until(lambda: "Could start now." in driver.find_element(By.ID, "verdict-sentence").text)
    painted, asked = driver.execute_script(PAINTED)
    assert painted < asked
    taken = [driver.execute_async_script(CHANGE, f"{number + 3}G") / 1000 for number in range(20)]
    print(f"\nchange to sentence: median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s")
    assert statistics.median(taken) < 1.0


def test_a_silent_qmaster_keeps_nobody_from_start(site: Site) -> None:
    """Unknown comes in time, the start is taken, and becomes a session when Grid Engine answers again."""
    alice = site.person("alice")
    site.lab.run("head", ["pkill", "-STOP", "sge_qmaster"])
    try:
        begun = time.monotonic()
        found = ask(alice, runtime="00:50:00")
        taken = time.monotonic() - begun
        print(f"\nunknown after {taken:.1f} s")
        assert (found["kind"], found["sentence"]) == ("unknown", SILENT)
        assert taken < 6
        assert alice.open("/hub/spawn").status == 200
        assert alice.start({"memory": "1G"}).status in (201, 202)
    finally:
        site.lab.run("head", ["pkill", "-CONT", "sge_qmaster"])
    alice.wait_until(ready=True, seconds=60)
    assert alice.stop().status in (202, 204)
    site.wait_for_jobs(0)
    assert ask(alice, runtime="00:51:00")["kind"] == "now"
