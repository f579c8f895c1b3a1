"""What all tests of the hub begin with."""

from __future__ import annotations

import pytest

from sgehub.hub import form


@pytest.fixture(autouse=True)
def no_request() -> None:
    """Forget the HTTP request of the test before: a hub has a context for each, tests share one."""
    form._request.set(None)
