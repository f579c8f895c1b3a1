"""A forwarded port is taken before anything else starts, or refused in words."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sgehub.lab.errors import LabError
from sgehub.lab.forward import Forward


def nowhere() -> Path:
    """Stand for a host that nobody asks for."""
    raise AssertionError


def test_a_busy_port_is_refused_at_once() -> None:
    """The error names the port, before any host is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LabError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            Forward(nowhere, 8000, port=port)


def test_a_port_that_was_never_served_is_given_back() -> None:
    """Between construction and serving something else may fail; the port is free again then."""
    forward = Forward(nowhere, 8000)
    forward.close()
    Forward(nowhere, 8000, port=forward.port).close()


def test_ending_twice_does_no_harm() -> None:
    """Close may be called again, after serving, too."""
    with Forward(nowhere, 8000) as forward:
        forward.close()
    forward.close()
