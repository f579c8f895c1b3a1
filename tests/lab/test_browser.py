"""The first session as a person has it: a real Chromium, from the login page to a notebook's cell and Stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.chrome import chrome
from tests.lab.conftest import Site

T = TypeVar("T")
CODE = "import socket; print('host is', socket.gethostname())"


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Start a browser of the test's own."""
    browser = chrome(tmp_path / "profile")
    browser.set_window_size(1280, 900)
    try:
        yield browser
    finally:
        browser.quit()


def until(found: Callable[[], T], seconds: float = 40.0) -> T:
    """Look again and again until there is something to see."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := found():
                return value
        except WebDriverException:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)


def run_cell(driver: webdriver.Chrome, cell: str) -> str:
    """Run the cell in place and return what it prints; JupyterLab may not be connected to its kernel yet."""
    driver.find_element(By.CSS_SELECTOR, cell).click()
    ActionChains(driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    time.sleep(1)
    return driver.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output").text


def press_stop(driver: webdriver.Chrome) -> bool:
    """Press Stop until the page has taken it, and greys Start out: its script may not be there yet."""
    driver.find_element(By.ID, "stop").click()
    return driver.find_element(By.ID, "start").get_attribute("disabled") is not None


def test_from_login_to_a_notebooks_cell(hub: Site, driver: webdriver.Chrome):
    """2 cores, 2G, no GPU, 30 minutes: JupyterLab opens, a cell prints the host's name, Stop ends the job."""
    driver.get(f"{hub.url}/hub/login")
    driver.find_element(By.NAME, "username").send_keys("alice")
    driver.find_element(By.NAME, "password").send_keys("alice", Keys.ENTER)
    until(lambda: driver.find_element(By.NAME, "cores"))
    for name, value in {"cores": "2", "memory": "2G", "gpus": "0", "runtime": "00:30:00"}.items():
        field = driver.find_element(By.NAME, name)
        field.clear()
        field.send_keys(value)
    driver.find_element(By.CSS_SELECTOR, "#spawn_form [type=submit]").click()
    until(lambda: "/user/alice/lab" in driver.current_url)
    card = "[data-category=Notebook].jp-LauncherCard"
    until(lambda: driver.find_element(By.CSS_SELECTOR, card).is_displayed())
    until(lambda: driver.find_element(By.CSS_SELECTOR, card).click() or True)
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    until(lambda: driver.find_element(By.CSS_SELECTOR, idle))
    cell = ".jp-Notebook .jp-CodeCell .cm-content"
    until(lambda: driver.find_element(By.CSS_SELECTOR, cell).click() or True)
    ActionChains(driver).send_keys(CODE).perform()
    output = until(lambda: run_cell(driver, cell))
    (line,) = [line for line in hub.qstat("-u", "*").splitlines() if "sgehub-" in line]
    assert output.removeprefix("host is ") == line.split("@")[1].split()[0]
    (job,) = hub.jobs()
    found = hub.qstat("-j", str(job))
    assert "smp range: 2" in found
    assert "h_vmem=1G" in found
    driver.get(f"{hub.url}/hub/home")
    begun = time.monotonic()
    until(lambda: press_stop(driver))
    hub.wait_for_jobs(0)
    print(f"\nStop to the job's end, with a kernel: {time.monotonic() - begun:.1f} s")
