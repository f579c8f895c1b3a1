"""Read the form's HTML the way a browser does: elements with their attributes and texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"input", "br"}


@dataclass
class Element:
    """One element; `text` is all text in it, blanks made one."""

    tag: str
    attributes: dict[str, str]
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


class Page(HTMLParser):
    """All elements of a piece of HTML, in order. Raises AssertionError when tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)

    def with_(self, **attributes: str) -> Iterator[Element]:
        """Yield the elements that have all these attributes."""
        for element in self.elements:
            if attributes.items() <= element.attributes.items():
                yield element

    def id(self, name: str) -> Element:
        """Return the element of that id, of which there is only one."""
        (element,) = self.with_(id=name)
        return element

    def values(self) -> dict[str, str]:
        """Return what each field shows, and would post; of radio buttons and ticks only what is chosen."""
        shown: dict[str, str] = {}
        name, chosen = "", False
        for element in self.elements:
            chooses = element.attributes.get("type") in {"radio", "checkbox"}
            if element.tag == "input" and "name" in element.attributes:
                if chooses and "checked" not in element.attributes:
                    continue
                shown[element.attributes["name"]] = element.attributes["value"]
            elif element.tag == "select":
                name, chosen = element.attributes["name"], False
            elif element.tag == "option" and (
                name not in shown or ("selected" in element.attributes and not chosen)
            ):
                shown[name] = element.attributes["value"]
                chosen = "selected" in element.attributes
        return shown

    def reasons(self) -> dict[str, str]:
        """Return the reason that each refused field points to."""
        found = {}
        for element in self.with_(**{"aria-invalid": "true"}):
            described = element.attributes["aria-describedby"].split()
            found[element.attributes["name"]] = self.id(described[0]).text
        return found
