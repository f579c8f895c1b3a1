"""A running hub in a lab, as tests use it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from sgehub.lab.cluster import Lab
from sgehub.lab.forward import Forward
from sgehub.lab.hub import PORT, LabHub
from tests.lab.person import Person


@dataclass(frozen=True)
class Site:
    """A running hub in a lab, as tests use it. `url` is on the machine's own loopback."""

    lab: Lab
    hub: LabHub
    url: str

    def person(self, name: str) -> Person:
        """Return a person who has logged in."""
        return Person(self.url, name).log_in()

    def qstat(self, *arguments: str, user: str = "alice") -> str:
        """Return what qstat prints on the head."""
        return self.lab.run("head", ["qstat", *arguments], user=user).stdout

    def jobs(self) -> list[int]:
        """Return the numbers of all jobs that Grid Engine knows."""
        lines = self.qstat("-u", "*").splitlines()[2:]
        return [int(line.split()[0]) for line in lines]

    def wait_for_jobs(self, count: int, seconds: float = 30.0) -> list[int]:
        """Wait until Grid Engine knows exactly so many jobs."""
        until = time.monotonic() + seconds
        while len(jobs := self.jobs()) != count:
            assert time.monotonic() < until, f"{count} jobs expected:\n{self.qstat('-u', '*')}"
            time.sleep(0.2)
        return jobs

    def home(self, name: str) -> Path:
        """Return a person's home folder, as this machine sees it."""
        return self.lab.root / "home" / name

    def job_log(self, name: str) -> str:
        """Return the newest job log of a person."""
        logs = sorted((self.home(name) / ".sgehub" / "log").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return logs[-1].read_text(errors="replace")


CONFIG = Path(__file__).parents[2] / "config"
MakeHub = Callable[..., AbstractContextManager[Site]]


@contextmanager
def running_hub(lab: Lab, *, config: str = "", site: Mapping[str, object] | None = None) -> Iterator[Site]:
    """Run a hub on the lab's head.

    `config` is appended before configure(), `site` replaces keys of site.yaml, or takes them away (None).
    """
    hub = LabHub(lab, CONFIG)
    for home in (lab.root / "home").iterdir():
        shutil.rmtree(home / ".sgehub", ignore_errors=True)  # of other tests' sessions
    raw = yaml.safe_load((CONFIG / "site.yaml").read_text())
    for key, value in (site or {}).items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, Mapping) else value
        if value is None:
            del raw[key]
    text = (
        (CONFIG / "jupyterhub_config.py").read_text().replace("# Everything else", f"{config}\n# Everything else")
    )
    hub.write_files(config=text, site=yaml.safe_dump(raw, sort_keys=False))
    with Forward(lambda: lab.namespace("head", "net"), PORT) as forward:
        try:
            hub.start()
            yield Site(lab, hub, f"http://127.0.0.1:{forward.port}")
        finally:
            hub.close()
            lab.run("head", ["qdel", "-u", "*"])
            hub.forget()
