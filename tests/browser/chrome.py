"""Debian's Chromium, driven without a screen and without a word to the outside."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # else pages scroll for a while, and what is pressed meanwhile is elsewhere
)
JAVASCRIPT = "profile.managed_default_content_settings.javascript"


def chrome(profile: Path, *, javascript: bool = True) -> webdriver.Chrome:
    """Start a browser with an empty profile of its own; the caller quits it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    if not javascript:
        options.add_experimental_option("prefs", {JAVASCRIPT: 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
