"""`sgehub reap --end` in the model: a process of its own, beside the hub or while there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sgehub.errors import ClusterError
from sgehub.hub.ledger import LedgerError
from sgehub.hub.reap import Reaper
from tests.model import laws
from tests.model.door import Door
from tests.model.loop import VirtualLoop

if TYPE_CHECKING:
    from tests.model.world import World


class Reaping:
    """One run of the command, from its start until it has said what it did."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.loop = VirtualLoop(world.clock)
        with self.loop.running():
            reaper = Reaper(Door(world.cluster, self.loop), world.database.aside, clock=world.clock.epoch)
            self._task = self.loop.create_task(self._run(reaper))

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def _run(self, reaper: Reaper) -> None:
        try:
            results = await reaper.end(await reaper.look())
        except (ClusterError, LedgerError):
            return  # it says that it does not know
        except Exception as error:  # noqa: BLE001 - any other is against the law
            self._world.broken(f"sgehub reap has failed: {error!r}")
            return
        for result in results:
            if result.ended and result.finding.entry is not None:
                laws.what_was_reaped_is_gone(self._world, result.finding.entry.record.tag, result.action)

    def run_one(self) -> bool:
        """Let it do one thing that is due; return whether there was one."""
        with self.loop.running():
            return self.loop.run_one()
