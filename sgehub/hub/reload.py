"""The site's file while the hub runs: a new one is taken when it is whole and right, else the one before holds on.

The law of this file: what requests are judged by is always one whole file that was read without an error. Nothing
here holds the event loop, for the file may be on a file system that is slow; where that hangs, the look hangs, and
no second one begins. What a new policy means to whom is the business of `service`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Protocol

from sgehub.errors import SiteConfigurationError
from sgehub.hub.metrics import Metrics
from sgehub.hub.news import heard
from sgehub.model.policy import SitePolicy
from sgehub.model.siteparts import ClusterSite
from sgehub.siteconfig import load_site

LOOK: Final = 5.0  # seconds between looks at the file; one that has changed is read when two looks find the same
# What is read once. The rest of `cluster` says where Grid Engine is, and the jobs that live are there;
# JupyterHub looks for pages in the folders of templates that it began with.
LIVE_IN_CLUSTER: Final = frozenset({"host_lost_after"})
NEED_RESTART: Final = ("helper", "template_folders")

Version = tuple[int, ...] | None  # None: there is no file, or nobody can look at it


class Holder(Protocol):
    """What works by a policy."""

    policy: SitePolicy

    def adopt(self, policy: SitePolicy) -> None:
        """Judge by this policy from now on."""


def version(path: Path) -> Version:
    """Return what tells one version of a file from another, without reading it.

    Editors put a new file in the old one's place, so that its inode changes. The time of the inode's change is
    among them for a file that nobody could read: when its mode is mended, nothing else differs.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def changed(old: SitePolicy, new: SitePolicy) -> tuple[str, ...]:
    """Return the top-level keys that say something else, also where only their order does: people see that."""
    return tuple(key for key in SitePolicy.model_fields if repr(getattr(old, key)) != repr(getattr(new, key)))


def need_restart(old: SitePolicy, new: SitePolicy) -> tuple[str, ...]:
    """Return the keys that say something else and are read only when the hub starts."""
    before, now = _fixed(old), _fixed(new)
    return tuple(key for key in before if before[key] != now[key])


def _fixed(policy: SitePolicy) -> dict[str, object]:
    places = {
        f"cluster.{key}": getattr(policy.cluster, key)
        for key in ClusterSite.model_fields
        if key not in LIVE_IN_CLUSTER
    }
    return places | {key: getattr(policy, key) for key in NEED_RESTART}


def survive() -> None:
    """Let SIGHUP end nothing before `hear` is called: JupyterHub leaves it as it is, which ends the hub.

    A handler, since programs that the hub starts would inherit that a signal is ignored.
    """
    signal.signal(signal.SIGHUP, lambda *_: None)


def hear(services: Mapping[str, Any]) -> None:
    """Read the files of all services again, also of later ones, whenever the hub gets SIGHUP."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _wake, services)


def _wake(services: Mapping[str, Any]) -> None:
    for service in services.values():
        if service.reload is not None:
            service.reload.wake()


class Reload:
    """One site's file. `trouble` is what administrators read while the hub works by an earlier one, else ""."""

    def __init__(
        self,
        path: Path,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        log: logging.Logger,
        pause: float = LOOK,
    ) -> None:
        self.trouble = ""
        self._path, self._metrics, self._clock, self._log, self._pause = path, metrics, clock, log, pause
        self._read: Version = None
        self._seen: Version = None
        self._since: float | None = None  # when the trouble began
        self._asked = False
        self._woken = asyncio.Event()

    def first(self) -> SitePolicy:
        """Read the file for the hub's start. Raises SiteConfigurationError."""
        self._metrics.site_file(right=False)
        self._read = self._seen = version(self._path)
        policy = load_site(self._path)
        self._metrics.site_file(right=True)
        return policy

    def wake(self) -> None:
        """Have the file read at once, whether it has changed or not."""
        self._asked = True
        self._woken.set()

    async def run(self, holder: Holder) -> None:
        """Look at the file again and again, as long as the hub runs."""
        while True:
            await heard(self._woken, self._pause)
            self._woken.clear()
            try:
                await self.look(holder)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next version may be right
                self._log.exception("The site's file %s cannot be looked after.", self._path)
                self._keep_out(f"{self._path}: {error!r}")

    async def look(self, holder: Holder) -> None:
        """Look at the file once, and read it if it is another one that nobody writes any more, or on request."""
        asked, self._asked = self._asked, False
        found = await asyncio.to_thread(version, self._path)
        seen, self._seen = self._seen, found
        if asked or (found != self._read and found == seen):
            self._read = found  # before it is read: what changes meanwhile is another version
            await self._judge(holder, asked=asked)

    async def _judge(self, holder: Holder, *, asked: bool) -> None:
        try:
            policy = await asyncio.to_thread(load_site, self._path)
            self._check(holder.policy, policy)
        except SiteConfigurationError as error:
            self._log.error("%s\n%s", self._keep_out(str(error)), error)
            return
        keys = changed(holder.policy, policy)
        mended, self.trouble, self._since = bool(self.trouble), "", None
        self._metrics.site_file(right=True)
        if keys:
            holder.adopt(policy)
            self._log.info(
                "%s has changed, which holds from now on: %s. Sessions that were submitted keep what they have.",
                self._path,
                ", ".join(keys),
            )
        elif asked or mended:
            self._log.info("%s has been read again, and says what the hub works by.", self._path)

    def _check(self, old: SitePolicy, new: SitePolicy) -> None:
        keys = need_restart(old, new)
        if keys:
            raise SiteConfigurationError(
                f"{self._path}: {' and '.join(keys)} {'has' if len(keys) == 1 else 'have'} changed: restart the "
                f"hub for that. Nothing of the new file is taken until then."
            )

    def _keep_out(self, why: str) -> str:
        """Note that the file cannot be used; return the sentence that says so."""
        self._since = self._clock() if self._since is None else self._since
        when = datetime.fromtimestamp(self._since, timezone.utc).astimezone()
        said = (
            f"The site's file {self._path} cannot be used since {when:%Y-%m-%d %H:%M}; the hub goes on with what "
            f"it said before:"
        )
        self.trouble = f"{said}\n{why}"
        self._metrics.site_file(right=False)
        return said
