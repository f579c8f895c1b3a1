"""A paper cluster with something free, and what a page says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .pages import Browser
from .paper_cluster import PaperCluster

ADDRESS = "hub/api/sgehub/capacity"
RULES = """\
presets:
  fits: {label: Fits, request: {cores: 2, memory: 4G, runtime: "00:30:00"}}
  waits: {label: Waits, request: {cores: 16, memory: 4G, runtime: "00:30:00"}}
rules:
  - {people: [mail], queues: [short.q], most: {cores: 2, memory: 4G}, sessions_per_person: 2}
"""
TOTAL = {"h_vmem": "64G", "gpu": "0"}
HOSTS: dict[str, dict[str, Any]] = {
    "node01": {
        "free": {"h_vmem": "6.500G", "gpu": "0.000000"},
        "total": TOTAL,
        "queues": {"short.q": [12, 16, ""], "long.q": [4, 16, ""]},
    },
    "node02": {
        "free": {"h_vmem": "48.000G", "gpu": "0.000000"},
        "total": TOTAL,
        "queues": {"short.q": [2, 16, ""], "long.q": [16, 16, ""]},
    },
    "node03": {
        "free": {"h_vmem": "30.000G", "gpu": "1.000000"},
        "total": TOTAL | {"gpu": "2"},
        "queues": {"short.q": [0, 16, "d"], "gpu.q": [10, 16, ""]},
    },
}
SAID = {
    "short.q": {"Slots": "18 of 48 free", "Memory": "54.5G of 192G free"},
    "long.q": {"Slots": "12 of 32 free", "Memory": "54.5G of 128G free"},
    "gpu.q": {"Slots": "6 of 16 free", "Memory": "30G of 64G free", "GPUs": "1 of 2 free"},
}


def cluster_with_something_free(folder: Path) -> PaperCluster:
    """Make a cluster of HOSTS whose site has a rule about one person."""
    made = PaperCluster(folder)
    made.site.write_text(made.site.read_text() + RULES)
    made.say("hosts at first", json.dumps(HOSTS))
    return made


def meters(page: Browser) -> dict[str, dict[str, str]]:
    """Return what the bars say to those who do not see them, by queue."""
    found: dict[str, dict[str, str]] = {}
    for section in page.all("#capacity section"):
        bars = found.setdefault(str(section.get_attribute("data-queue")), {})
        for meter in section.find_elements("css selector", "[role=meter]"):
            what = str(meter.get_attribute("aria-label")).partition(" of ")[0]
            bars[what] = str(meter.get_attribute("aria-valuetext"))
            part = meter.find_element("css selector", ".progress-bar").rect["width"] / meter.rect["width"]
            share = float(str(meter.get_attribute("aria-valuenow"))) / float(
                str(meter.get_attribute("aria-valuemax"))
            )
            assert part == pytest.approx(share, abs=0.03)
            assert bars[what] in section.text  # never by the bar alone
    return found
