"""The site's file while the hub runs: whole and right versions are taken, all others leave the one before."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sgehub.errors import SiteConfigurationError
from sgehub.hub.ledger import Ledger
from sgehub.hub.metrics import Metrics
from sgehub.hub.reload import LIVE_IN_CLUSTER, NEED_RESTART, Reload, changed, hear, need_restart, version
from sgehub.hub.service import ClusterService
from sgehub.model.policy import SitePolicy
from sgehub.model.siteparts import ClusterSite
from tests.unit.hub.test_endings import Cluster
from tests.unit.model.site import BASE, site

LOG = logging.getLogger("test.reload")
NOON = 1_700_000_000.0
WIDER = {"queues": {"short.q": {"cores": 32, "memory": "64G", "runtime": "01:00:00"}}}


class Holder:
    """What works by a policy, and remembers each it was given."""

    def __init__(self, policy: SitePolicy) -> None:
        self.policy = policy
        self.adopted: list[SitePolicy] = []

    def adopt(self, policy: SitePolicy) -> None:
        self.policy = policy
        self.adopted.append(policy)


class Rig:
    """A file, what watches it, and who works by it; `clock` stands still until it is set."""

    def __init__(self, path: Path, pause: float = 0.005) -> None:
        self.path = path
        self.now = NOON
        self.registry = CollectorRegistry()
        self.write()
        self.reload = Reload(path, Metrics(self.registry, site="a"), clock=lambda: self.now, log=LOG, pause=pause)
        self.holder = Holder(self.reload.first())

    def write(self, text: str | None = None, **changes: Any) -> None:
        """Put another file in the old one's place, as editors do."""
        scratch = self.path.with_suffix(".new")
        scratch.write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False) if text is None else text)
        scratch.replace(self.path)

    @property
    def right(self) -> float | None:
        """What monitoring reads."""
        return self.registry.get_sample_value("sgehub_site_file_ok", {"site": "a"})

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            await self.reload.look(self.holder)

    @property
    def cores(self) -> int:
        return self.holder.policy.queues["short.q"].cores


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    """Return a rig whose file is right, with what it logs."""
    caplog.set_level(logging.INFO)
    return Rig(tmp_path / "site.yaml")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def infos(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]


# A good file


async def test_a_new_file_is_taken_when_two_looks_find_the_same(rig, caplog):
    """Once, and the log names the keys that changed."""
    rig.write(**WIDER)
    await rig.look(1)
    assert rig.cores == 16
    await rig.look(3)
    assert rig.cores == 32
    assert len(rig.holder.adopted) == 1
    (info,) = infos(caplog)
    assert info.startswith(f"{rig.path} has changed, which holds from now on: queues. ")
    assert (rig.right, rig.reload.trouble) == (1, "")


async def test_a_file_that_is_still_written_is_not_judged(rig, caplog):
    """Each look finds another size; what is half there is no error of the administrator's."""
    whole = yaml.safe_dump({**BASE, **WIDER})
    for length in (10, 100, 200):
        rig.path.write_text(whole[:length])
        await rig.look(1)
    rig.path.write_text(whole)
    await rig.look(1)
    assert errors(caplog) == []
    assert rig.cores == 16
    await rig.look(1)
    assert rig.cores == 32


async def test_a_file_that_is_away_for_a_moment_is_no_news(rig, caplog):
    """As between an editor's two renames."""
    rig.path.rename(rig.path.with_suffix(".away"))
    await rig.look(1)
    rig.path.with_suffix(".away").rename(rig.path)
    await rig.look()
    assert errors(caplog) == []
    assert rig.right == 1


async def test_a_link_is_followed(rig, tmp_path):
    """To the file it names, and when it names another one."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    rig.path.rename(old)
    rig.path.symlink_to(old)
    await rig.look()
    new.write_text(yaml.safe_dump({**BASE, **WIDER}))
    rig.path.unlink()
    rig.path.symlink_to(new)
    await rig.look()
    assert rig.cores == 32


async def test_a_touched_file_changes_nothing(rig, caplog):
    """Nor does it write a line."""
    rig.write()
    await rig.look()
    assert rig.holder.adopted == []
    assert caplog.records == []


async def test_another_order_of_queues_is_a_change(rig):
    """People see that order, and the first queue that fits decides."""
    rig.write(queues=dict(reversed(BASE["queues"].items())))
    await rig.look()
    assert list(rig.holder.policy.queues) == ["gpu.q", "long.q", "short.q"]


# A broken file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues: [", "line 1"),
        (None, "queues.short.q.cores"),
        ("", "expected keys such as cluster"),
    ],
)
async def test_a_broken_file_leaves_the_one_before_and_is_told_once(rig, caplog, text, said):
    """Loudly, with file, line and key; at each further version again, and not at each look."""
    rig.write(text, queues={"short.q": {**BASE["queues"]["short.q"], "cores": "many"}})
    await rig.look(6)
    (error,) = errors(caplog)
    assert "the hub goes on with what it said before:\n" in error
    assert str(rig.path) in error.splitlines()[1]
    assert said in error
    assert (rig.cores, rig.holder.adopted, rig.right) == (16, [], 0)
    assert rig.reload.trouble == error
    rig.write("also: wrong")
    await rig.look(6)
    assert len(errors(caplog)) == 2


async def test_a_mended_file_holds_and_is_told(rig, caplog):
    """Also where it says again what it said before; the trouble is over, and its time with it."""
    rig.write("nothing: here")
    await rig.look()
    began = rig.reload.trouble.partition(";")[0]
    rig.now += 3600
    rig.write("nothing: still")
    await rig.look()
    assert rig.reload.trouble.partition(";")[0] == began
    rig.write()
    await rig.look()
    assert (rig.right, rig.reload.trouble) == (1, "")
    assert infos(caplog) == [f"{rig.path} has been read again, and says what the hub works by."]
    rig.write("nothing: here")
    await rig.look()
    assert rig.reload.trouble.partition(";")[0] != began


async def test_a_file_that_nobody_finds_is_broken(rig, caplog):
    """It stays away for two looks; the hub goes on."""
    rig.path.unlink()
    await rig.look(4)
    (error,) = errors(caplog)
    assert "cannot be read: No such file or directory." in error
    rig.write(**WIDER)
    await rig.look()
    assert (rig.cores, rig.right) == (32, 1)


def test_a_mode_makes_another_version(tmp_path):
    """Whoever mends a file that could not be read changes nothing else."""
    path = tmp_path / "site.yaml"
    path.write_text("x")
    before = version(path)
    path.chmod(0o600)
    assert version(path) != before
    assert version(tmp_path / "none") is None


# What needs a restart


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"cluster": {**BASE["cluster"], "cell": "other"}}, "cluster.cell has changed"),
        (
            {"helper": ["run-as", "{person}"], "template_folders": ["/t"]},
            "helper and template_folders have changed",
        ),
    ],
)
async def test_a_change_that_needs_a_restart_keeps_the_whole_file_out(rig, caplog, change, key):
    """Half of a file would be a site that nobody has described."""
    rig.write(**WIDER, **change)
    await rig.look(4)
    (error,) = errors(caplog)
    assert f"{rig.path}: {key}: restart the hub for that." in error
    assert (rig.cores, rig.right) == (16, 0)
    rig.write(**WIDER)
    await rig.look()
    assert (rig.cores, rig.right) == (32, 1)


OTHER: dict[str, Any] = {
    "root": "/other",
    "cell": "other",
    "commands": "/other/bin",
    "qmaster_port": 1,
    "execd_port": 1,
    "arch": "lx-other",
}


@pytest.mark.parametrize("key", sorted(set(ClusterSite.model_fields) - LIVE_IN_CLUSTER))
def test_whatever_says_where_grid_engine_is_needs_a_restart(key):
    """Jobs that live are there; a new key of the cluster does, too, until somebody has thought about it."""
    new = site(cluster={**BASE["cluster"], key: OTHER[key]})
    assert need_restart(site(), new) == (f"cluster.{key}",)
    assert changed(site(), new) == ("cluster",)


def test_all_else_does_not():
    """Among it the patience with silent hosts."""
    new = site(
        **WIDER,
        cluster={**BASE["cluster"], "host_lost_after": "00:05:00"},
        hosts={"node01": "10.0.0.1"},
        session={"prologue": "module load x"},
    )
    assert need_restart(site(), new) == ()
    assert changed(site(), new) == ("cluster", "queues", "session", "hosts")
    assert changed(site(), site()) == ()
    assert set(NEED_RESTART) <= set(SitePolicy.model_fields)
    assert set(ClusterSite.model_fields) >= LIVE_IN_CLUSTER


# The loop and SIGHUP


@pytest.fixture
def hangup() -> Iterator[None]:
    """Give SIGHUP back what it did before."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("Waited in vain.")


async def test_the_file_is_looked_at_again_and_again(rig):
    """Change after change, without anybody's word."""
    looking = asyncio.ensure_future(rig.reload.run(rig.holder))
    rig.write(**WIDER)
    await until(lambda: rig.cores == 32)
    rig.write()
    await until(lambda: rig.cores == 16)
    looking.cancel()


@pytest.mark.usefixtures("hangup")
async def test_sighup_reads_the_files_of_all_services_at_once(tmp_path, caplog):
    """Also those that come later, also files that have not changed; the answer stands in the log."""
    caplog.set_level(logging.INFO)
    rigs, services = [Rig(tmp_path / name, pause=3600.0) for name in ("a.yaml", "b.yaml")], {}
    services["without"] = SimpleNamespace(reload=None)
    hear(services)
    looking = []
    for one in rigs:
        services[str(one.path)] = SimpleNamespace(reload=one.reload)
        looking.append(asyncio.ensure_future(one.reload.run(one.holder)))
    rigs[0].write(**WIDER)
    await asyncio.sleep(0.05)
    assert caplog.records == []
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(infos(caplog)) == 2)
    assert [one.cores for one in rigs] == [32, 16]
    assert f"{rigs[1].path} has been read again, and says what the hub works by." in infos(caplog)
    rigs[0].write("nothing: here")
    for _ in range(2):  # whoever asks is answered, also with the same
        before = len(errors(caplog))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda before=before: len(errors(caplog)) == before + 1)
    for one in looking:
        one.cancel()


class Odd(Holder):
    """Somebody who cannot take a policy, once."""

    failed = False

    def adopt(self, policy: SitePolicy) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("a bug")
        super().adopt(policy)


async def test_an_error_of_ours_does_not_end_the_looks(rig, caplog):
    """It is logged once, monitoring hears of it, and the next version has its chance."""
    rig.holder = Odd(rig.holder.policy)
    looking = asyncio.ensure_future(rig.reload.run(rig.holder))
    rig.write(**WIDER)
    await until(lambda: rig.right == 0)
    assert "a bug" in rig.reload.trouble
    await asyncio.sleep(0.05)
    assert len(errors(caplog)) == 1
    rig.write(project_required=False, **WIDER)
    await until(lambda: rig.cores == 32)
    looking.cancel()


def test_sighup_ends_nothing_before_a_file_is_watched():
    """Nor does a program that the hub starts inherit that it is ignored."""
    script = (
        "import os, signal, subprocess\n"
        "from sgehub.hub.reload import survive\n"
        "survive()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(subprocess.run(['sh', '-c', 'kill -HUP $$; echo survived']).returncode)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == str(-signal.SIGHUP)


# The hub's start, and the service


def test_a_broken_first_file_is_an_error_and_a_zero(tmp_path):
    """Each start says what is wrong; monitoring hears of it, too."""
    path, registry = tmp_path / "site.yaml", CollectorRegistry()
    path.write_text("nothing: here")
    broken = Reload(path, Metrics(registry, site="a"), clock=lambda: NOON, log=LOG)
    with pytest.raises(SiteConfigurationError, match="no such key"):
        broken.first()
    assert registry.get_sample_value("sgehub_site_file_ok", {"site": "a"}) == 0


def test_a_service_judges_by_the_new_file_everywhere():
    """People's narrowed policies and the patience with silent hosts follow."""
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        service = ClusterService(
            site(rules=[{"most": {"cores": 2}}]),
            Cluster(),  # type: ignore[arg-type] # as much of it as is needed
            Ledger(session),
            log=LOG,
            metrics=Metrics(CollectorRegistry()),
            clock=lambda: NOON,
        )
        assert service.people.policy_of("root").queues["short.q"].cores == 2
        pause = service.hosts.pause
        new = site(rules=[{"most": {"cores": 3}}], cluster={**BASE["cluster"], "host_lost_after": "00:01:00"})
        service.adopt(new)
        assert service.policy is new
        assert service.people.policy_of("root").queues["short.q"].cores == 3
        assert service.hosts.pause < pause
        service.adopt(site())
        assert service.people.policy_of("root") is service.policy
    engine.dispose()
