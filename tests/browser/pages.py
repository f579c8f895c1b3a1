"""The hub's pages as a person sees and uses them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

T = TypeVar("T")


class Browser:
    """One window of one person."""

    def __init__(self, driver: webdriver.Chrome, url: str, *, width: int, height: int) -> None:
        self.driver, self.url = driver, url
        # A window cannot be narrower than 500 pixels; the page in it can.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def login(self, name: str) -> None:
        """Log in; any password will do."""
        self.open("hub/login")
        self.one("#username_input").send_keys(name)
        self.one("#password_input").send_keys("x")
        self.one("#login_submit").click()
        self.until(lambda: "/login" not in self.driver.current_url)

    def open(self, path: str) -> None:
        """Go to a page of the hub."""
        self.driver.get(self.url + path)

    def one(self, selector: str) -> WebElement:
        """Return the first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Press an element in the middle of the window, away from what sticks to its edges."""
        element = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def text(self, selector: str = "body") -> str:
        """Return the visible text of all elements together."""
        return "\n".join(element.text for element in self.all(selector))

    def fill(self, **values: str) -> None:
        """Type into fields; choose a queue. A tick is "yes" or ""."""
        for name, value in values.items():
            field = self.one(f"[name='{name}']:not([type=hidden])")
            if field.tag_name == "select":
                Select(field).select_by_value(value)
            elif field.get_attribute("type") == "checkbox":
                if field.is_selected() != bool(value):
                    self.click(f"[name='{name}'][type=checkbox]")
            else:
                field.clear()
                field.send_keys(value)

    def values(self) -> dict[str, str]:
        """Return what the fields show, and would post."""
        chosen = "input[name]:not([type=radio], [type=checkbox]), select[name], input[name]:checked"
        fields = self.one("#spawn_form").find_elements(By.CSS_SELECTOR, chosen)
        return {str(one.get_attribute("name")): str(one.get_attribute("value")) for one in fields}

    def reasons(self) -> dict[str, str]:
        """Return the reasons beside the fields, as the fields themselves point to them."""
        found = {}
        for field in self.all("#spawn_form [aria-invalid=true]"):
            described = str(field.get_attribute("aria-describedby")).split()
            found[str(field.get_attribute("name"))] = self.text(f"#{described[0]}")
        return found

    def start(self) -> None:
        """Press Start and wait for the answer."""
        page = self.one("html")
        self.one("#start-session").click()
        self.until(lambda: gone(page))

    def until(self, true: Callable[[], T], seconds: float = 15) -> T:
        """Wait for something; fail with the page's text."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                value = true()
            except WebDriverException as error:
                if not is_stale(error):
                    raise
                value = None
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"Waited in vain on {self.driver.current_url}:\n{self.text()}")

    def complaints(self) -> list[str]:
        """Return what the console says against the page: errors of scripts, files that do not load."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def gone(element: WebElement) -> bool:
    """Tell whether the page that held the element has been left."""
    try:
        element.is_enabled()
    except WebDriverException as error:
        if not is_stale(error):
            raise
        return True
    return False


def is_stale(error: WebDriverException) -> bool:
    """Tell whether the page has been left meanwhile; in the middle of that Chromium has words of its own."""
    return isinstance(error, StaleElementReferenceException) or "does not belong to the document" in str(error)
