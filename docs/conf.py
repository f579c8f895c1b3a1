"""Settings of Sphinx for this documentation: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import site_keys  # noqa: E402 - it stands beside this file

(HERE / "reference" / "site_keys.inc").write_text(site_keys.table(), encoding="utf-8")

project = "sgehub"
copyright = "the sgehub authors"  # noqa: A001 - Sphinx's name for it
release = version_of("sgehub")
version = release

extensions: list[str] = []
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # quotes in commands are copied

html_theme = "furo"
html_title = f"sgehub {release}"
html_show_sphinx = False
