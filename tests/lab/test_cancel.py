"""A start can be cancelled at any moment: no orphan, no error page, no second job."""

from __future__ import annotations

import threading
import time

import pytest

from tests.lab.conftest import Site

MOMENTS = [0.02, 0.06, 0.1, 0.3, 0.8, 1.5, 2.2]  # seconds after the POST: sudo, qsub, queue, start, nearly ready


def cancel_after(site: Site, seconds: float, server: str = "") -> None:
    """Start, cancel so much later, and look at what is left."""
    alice = site.person("alice")
    starting = threading.Thread(target=alice.start, args=({"memory": "1G"}, server))
    starting.start()
    try:
        time.sleep(seconds)
        while not alice.model(server).get("pending") and starting.is_alive():
            time.sleep(0.01)
        answer = alice.stop(server)
    finally:
        starting.join()
    assert answer.status in (202, 204), answer.text
    alice.wait_until(ready=False, server=server)
    site.wait_for_jobs(0)
    assert not list((site.home("alice") / ".sgehub" / "run").iterdir())


@pytest.mark.parametrize("seconds", MOMENTS)
def test_cancelled_at_any_moment(hub: Site, seconds: float):
    """DELETE answers as for any server, and Grid Engine knows no job afterwards."""
    cancel_after(hub, seconds)


def test_a_named_server_is_cancelled_alone(hub: Site):
    """The default server goes on."""
    alice = hub.person("alice")
    alice.start({"memory": "1G"})
    alice.wait_until(ready=True)
    other = hub.person("alice")
    starting = threading.Thread(target=other.start, args=({"memory": "1G"}, "second"))
    starting.start()
    hub.wait_for_jobs(2)
    assert other.stop("second").status in (202, 204)
    starting.join()
    hub.wait_for_jobs(1)
    assert alice.model()["ready"]
    alice.stop()
    hub.wait_for_jobs(0)


def test_starting_again_right_after_a_cancelled_start(hub: Site):
    """The new start has a job of its own, the old one's is gone."""
    for seconds in (0.1, 0.5):
        cancel_after(hub, seconds)
        alice = hub.person("alice")
        assert alice.start({"memory": "1G"}).status in (201, 202)
        alice.wait_until(ready=True)
        assert len(hub.jobs()) == 1
        alice.stop()
        hub.wait_for_jobs(0)
