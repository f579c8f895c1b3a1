"""Settings of Sphinx for this documentation: `make docs`."""

from __future__ import annotations

from importlib.metadata import version as version_of

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
