"""XML as Grid Engine writes it, made safe to parse, in pieces.

The law of this file: no document type, no entity of its own, no control character reaches the parser, and no step
takes longer than a piece of 16 KB. Readers are generators that yield between pieces and return their result:
`at_once` runs one to its end, `by_and_by` gives way to other tasks at every yield.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Generator, Iterator
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

Value = TypeVar("Value")
Steps = Generator[None, None, Value]

PIECE: Final = 16 * 1024
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML 1.0, production 2
_DECLARATION: Final = re.compile(r"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|\[)", re.IGNORECASE)
_LONGEST_MARK: Final = len("<!DOCTYPE")


class IllFormedError(Exception):
    """The text is no XML that we read. Internal: every parser turns it into NoAnswerError."""


def at_once(steps: Steps[Value]) -> Value:
    """Run a reader without a break."""
    while True:
        try:
            next(steps)
        except StopIteration as end:  # noqa: PERF203 - that is how a generator returns
            value: Value = end.value
            return value


async def by_and_by(steps: Steps[Value]) -> Value:
    """Run a reader, giving way to the event loop between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: Value = end.value
            return value
        await asyncio.sleep(0)


def pieces(data: bytes) -> Iterator[str]:
    """Yield the text of `data` in pieces: bytes that are no UTF-8 replaced, control characters taken out.

    The tags "<>" and "</>" of Open Cluster Scheduler's list of unknown jobs are given a name. Raises
    IllFormedError at any declaration that could define entities: Grid Engine writes none, and within content it
    escapes "<".
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    held = ""  # from the last "<" on: what a seam between two pieces may have cut
    for start in range(0, len(data), PIECE):
        last = start + PIECE >= len(data)
        text = held + _FORBIDDEN.sub("", decode(data[start : start + PIECE], last))
        if _DECLARATION.search(text):
            raise IllFormedError("a document type declaration")
        cut = text.rfind("<")
        cut = len(text) if last or cut < len(text) - _LONGEST_MARK else cut
        held = text[cut:]
        yield text[:cut].replace("<>", "<nameless>").replace("</>", "</nameless>")


def ended(data: bytes) -> Iterator[list[Element]]:
    """Yield the elements that ended, a piece of `data` at a time; the very last one is the root.

    Raises IllFormedError where the text is not well-formed or ends too early.
    """
    parser: XMLPullParser[Any] = XMLPullParser(("end",))
    try:
        for piece in pieces(data):
            parser.feed(piece)
            yield list(map(_element, parser.read_events()))
        parser.close()
        yield list(map(_element, parser.read_events()))
    except ParseError as error:
        raise IllFormedError(str(error)) from error


def _element(event: Any) -> Element:
    element: Element = event[1]
    return element


def tree(data: bytes) -> Steps[Element]:
    """Read a whole document and return its root; raises IllFormedError."""
    root: Element | None = None
    for elements in ended(data):
        root = elements[-1] if elements else root
        yield
    if root is None:
        raise IllFormedError("nothing")
    return root


def local(tag: str) -> str:
    """Return a tag without its namespace: dialects differ in them."""
    return tag.rpartition("}")[2] if "}" in tag else tag


def child_texts(element: Element) -> dict[str, str]:
    """Return the texts of an element's children by tag; of several with one tag, the first."""
    texts: dict[str, str] = {}
    for child in element:
        texts.setdefault(local(child.tag), (child.text or "").strip())
    return texts
