"""JupyterHub's `start_timeout` limits a server's start on its host, never its place in the queue."""

from __future__ import annotations

import pytest
from jupyterhub.utils import maybe_future

from sgehub.hub.spawner import BEYOND_ALL
from tests.unit.hub.gate_rig import spawner_of


@pytest.mark.parametrize(("traits", "seconds"), [({}, 300), ({"start_timeout": 120}, 120)])
def test_what_is_configured_counts_from_the_start_of_the_job(traits, seconds):
    """The hub's own limit, which knows no queue, is only there to be longer."""
    spawner = spawner_of(traits=traits)
    assert (spawner.startup_timeout, spawner.start_timeout) == (seconds, BEYOND_ALL)


async def test_what_a_hook_sets_does_too():
    """It would end people's waiting in the queue, with an empty message."""

    def hook(spawner):
        spawner.start_timeout = 200

    spawner = spawner_of(traits={"start_timeout": 120})
    spawner.pre_spawn_hook = hook
    for _ in range(2):
        await maybe_future(spawner.run_pre_spawn_hook())
        assert (spawner.startup_timeout, spawner.start_timeout) == (200, BEYOND_ALL)
