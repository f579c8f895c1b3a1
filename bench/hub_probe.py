"""Inside a hub that is measured: how late its event loop is, and what its memory holds when all is quiet.

`watch(c, folder)` stands in the hub's configuration. The probe looks for files in `folder` once a second, removes
and obeys them: `lag-on` begins to measure, `lag-off` writes lag.json, `profile-on` and `profile-off` do the same
with profile.txt, `memory-on` and `memory-off` with memory.txt (what was allocated between them and is still there,
by source line), `collect` writes how long full garbage collections take, `tidy` returns freed memory to the
system, `go` lets the sessions of PlainSpawner run. While nothing is measured it costs one look a second.
"""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import gc
import io
import json
import pstats
import sys
import threading
import time
import traceback
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from traitlets import Unicode

TICK = 0.01  # seconds
LOOK = 1.0
FUNCTIONS = 40  # shown of a profile
FRAMES = 14  # kept of an allocation's stack
LINES = 60  # shown of the memory
COLLECTIONS = 3  # timed
SHOWN = 200  # characters of a callback's description


class _Callbacks:
    """Times every callback of the loop, which asyncio itself does in debug mode only, and looks into long ones."""

    def __init__(self) -> None:
        self.longest = (0.0, "")
        self._run = asyncio.events.Handle._run  # noqa: SLF001 - asyncio has no hook for it
        self._begun = 0.0  # of the callback that runs
        self._seen = (0.0, "")  # when a long one began, and where it was
        self._loop_thread = threading.get_ident()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Callbacks:  # noqa: PYI034 - typing.Self came after Python 3.10
        inner, clock = self._run, time.perf_counter

        def timed(handle: asyncio.events.Handle) -> None:
            self._begun = begun = clock()
            inner(handle)
            self._begun = 0.0
            took = clock() - begun
            if took > self.longest[0]:
                seen, where = self._seen
                self.longest = (took, where if seen == begun else repr(handle)[:SHOWN])

        asyncio.events.Handle._run = timed  # type: ignore[method-assign] # noqa: SLF001
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.events.Handle._run = self._run  # type: ignore[method-assign] # noqa: SLF001
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(TICK / 2):
            begun = self._begun
            if begun and time.perf_counter() - begun > TICK and self._seen[0] != begun:
                stack = traceback.extract_stack(sys._current_frames()[self._loop_thread])  # noqa: SLF001 - documented
                words = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in stack[-6:]]
                self._seen = (begun, " > ".join(words))


class Probe:
    """Obeys the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.go = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._obey())

    def _told(self, name: str) -> bool:
        path = self.folder / name
        if not path.exists():
            return False
        path.unlink()
        return True

    async def _obey(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if self._told("tidy"):
                gc.collect()
                ctypes.CDLL(None).malloc_trim(0)
            if self._told("go"):
                self.go.set()
            if self._told("lag-on"):
                await self._lag()
            if self._told("profile-on"):
                await self._profile()
            if self._told("memory-on"):
                await self._memory()
            if self._told("collect"):
                self._collect()

    async def _lag(self) -> None:
        """Measure lateness until told to stop: of a timer of 10 ms, and the longest single callback."""
        late: list[float] = []
        loop = asyncio.get_running_loop()
        with _Callbacks() as callbacks:
            looked = loop.time()
            while True:
                due = loop.time() + TICK
                await asyncio.sleep(TICK)
                now = loop.time()
                late.append(now - due)
                if now - looked > LOOK:
                    looked = now
                    if self._told("lag-off"):
                        break
        longest, where = callbacks.longest
        self._answer("lag.json", json.dumps({"late": late, "longest": longest, "where": where}))

    async def _profile(self) -> None:
        profile = cProfile.Profile()
        profile.enable()
        while not self._told("profile-off"):  # noqa: ASYNC110 - the order is a file
            await asyncio.sleep(LOOK)
        profile.disable()
        text = io.StringIO()
        stats = pstats.Stats(profile, stream=text)
        stats.sort_stats("tottime").print_stats(FUNCTIONS)
        stats.sort_stats("cumtime").print_stats(FUNCTIONS)
        self._answer("profile.txt", text.getvalue())

    async def _memory(self) -> None:
        """Note what is allocated until told to stop and still there then. The hub is slow meanwhile."""
        gc.collect()
        before = Counter(type(one).__qualname__ for one in gc.get_objects())
        tracemalloc.start(FRAMES)
        while not self._told("memory-off"):  # noqa: ASYNC110 - the order is a file
            await asyncio.sleep(LOOK)
        gc.collect()
        kept = tracemalloc.take_snapshot()
        tracemalloc.stop()
        objects = Counter(type(one).__qualname__ for one in gc.get_objects())
        objects.subtract(before)
        lines = [f"{count:>8} more {name}" for name, count in objects.most_common(LINES)]
        for grouping in ("filename", "lineno", "traceback"):
            found = kept.statistics(grouping)
            lines.append(f"\n{sum(one.size for one in found)} bytes by {grouping}")
            for one in found[:LINES]:
                where = " < ".join(f"{_short(frame.filename)}:{frame.lineno}" for frame in reversed(one.traceback))
                lines.append(f"{one.size:>9} bytes, {one.count:>6} blocks  {where}")
        self._answer("memory.txt", "\n".join(lines))

    def _collect(self) -> None:
        """Write the CPU seconds that full collections take, and how many objects they look at."""
        took = []
        for _ in range(COLLECTIONS):
            begun = time.thread_time()
            gc.collect()
            took.append(time.thread_time() - begun)
        found = {"took": took, "objects": len(gc.get_objects()), "frozen": gc.get_freeze_count()}
        found |= {"threshold": gc.get_threshold(), "stats": gc.get_stats()}
        self._answer("collect.json", json.dumps(found))

    def _answer(self, name: str, text: str) -> None:
        part = self.folder / f"{name}.part"
        part.write_text(text)
        part.rename(self.folder / name)


def _short(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[1:])


class PlainSpawner(Spawner):
    """A spawner that costs nothing: what JupyterHub itself takes for a session is measured with it."""

    stub_url = Unicode(help="What every session is said to be.").tag(config=True)

    async def start(self) -> str:
        """Wait like a queue until told to go, then name the stub server."""
        await PROBES[0].go.wait()
        return str(self.stub_url)

    async def poll(self) -> None:
        """Live for ever."""

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """End at once."""


PROBES: list[Probe] = []


def watch(c: Any, folder: str) -> None:
    """Let the hub that reads this configuration be probed; its authenticator is made inside the running loop."""

    class Probed(DummyAuthenticator):  # type: ignore[misc] # JupyterHub is untyped
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if not PROBES:
                PROBES.append(Probe(Path(folder)))

    c.JupyterHub.authenticator_class = Probed
    c.Authenticator.allow_all = True
