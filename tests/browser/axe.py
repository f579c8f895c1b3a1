"""Deque's axe-core in a page: what stands in the way of people who see, hear or move little.

It runs in the page itself, from a file that `make deps` has installed, and loads nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .hub_process import proxy_command

if TYPE_CHECKING:
    from selenium import webdriver

RUN = """
var done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(function (found) {
  done([found.passes.length].concat(found.violations.map(function (one) {
    return one.id + ": " + one.help + ": " + one.nodes.map(function (node) { return node.html; }).join(" ");
  })));
}, function (error) { done([0, String(error)]); });
"""


def program() -> Path:
    """Return axe-core's file: it is installed beside the proxy."""
    found = Path(proxy_command()).resolve().parents[2] / "axe-core" / "axe.min.js"
    assert found.exists(), f"There is no {found}: make deps"
    return found


def violations(driver: webdriver.Chrome) -> list[str]:
    """Return what all rules of axe-core say against the page as it stands."""
    driver.execute_script("if (!window.axe) {" + program().read_text() + "\n}; window.axe = window.axe || axe;")
    passed, *found = driver.execute_async_script(RUN)
    assert passed > 0, found
    return found
