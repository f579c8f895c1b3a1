"""Grid Engine in the lab: the cell's files, its daemons, its configuration.

What can be written before the qmaster runs is (spooldefaults), because that costs milliseconds; the rest goes
through qconf(1) as on any cluster.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sgehub.lab import cell_files as files
from sgehub.lab.errors import LabError
from sgehub.lab.host import tool
from sgehub.lab.layout import BINARIES, HEAD, SGE_ROOT, Layout

_SHARE = Path("/usr/share/gridengine")
_DRAFTS = "drafts"  # below SGE_ROOT: the texts given to qconf stay there to be looked at
_PAUSE = 0.05

# Run in a host as root and return the output; LabError if it fails.
RunOn = Callable[[str, Sequence[str]], str]


def architecture() -> str:
    """Return what Grid Engine calls this machine, such as lx-amd64."""
    return tool([str(_SHARE / "util" / "arch")]).strip()


def _draft(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


def write_files(layout: Layout) -> None:
    """Write SGE_ROOT as it is before anything of Grid Engine has run."""
    sge = layout.sge
    common = sge / Path(files.COMMON).relative_to(SGE_ROOT)
    for folder in (common, sge / Path(files.SPOOL).relative_to(SGE_ROOT)):
        folder.mkdir(parents=True)
    for name in ("bin", "lib", "util", "utilbin"):
        shutil.copytree(Path("/var/lib/gridengine") / name, sge / name, symlinks=True)
    (common / "bootstrap").write_text(files.bootstrap())
    (common / "act_qmaster").write_text(f"{HEAD}\n")
    _copy_scripts(layout)

    drafts = sge / _DRAFTS
    resources = _SHARE / "util" / "resources"
    shutil.copytree(resources / "centry", drafts / "complexes")
    shutil.copytree(resources / "usersets", drafts / "usersets")
    default = (_SHARE / "default-configuration").read_text()
    own = {**files.CONFIGURATION, **(files.SIMULATION if layout.simulated else {})}
    drafts.joinpath("configuration").write_text(files.changed(default, own))
    _draft(drafts / "complexes", files.complexes())
    _draft(drafts / "usersets", files.usersets(layout))
    _draft(drafts / "projects", files.projects())
    _draft(drafts / "pes", files.parallel_environments())
    _draft(drafts / "hosts", files.host_entries(layout))
    _draft(drafts / "queues", files.queues())
    _draft(drafts / "hostgroups", files.host_groups(layout))
    _draft(drafts, {"quotas": files.QUOTAS})
    tool(["chown", "--recursive", files.ADMIN, str(sge / Path(files.COMMON).parent.relative_to(SGE_ROOT))])


def _copy_scripts(layout: Layout) -> None:
    """Copy prolog and epilog, which run as root: folder and files are root's."""
    folder = layout.sge / Path(files.SCRIPTS).relative_to(SGE_ROOT)
    folder.mkdir()
    for name in ("gpu-prolog", "gpu-epilog"):
        source = layout.site / "scripts" / name
        if not source.exists():
            raise LabError(f"{source} is missing; the lab is started from a checkout of the project.")
        shutil.copyfile(source, folder / name)
        (folder / name).chmod(0o755)


def initialise(run: RunOn) -> None:
    """Fill the empty spool by spoolinit and spooldefaults, before the qmaster starts."""
    drafts = f"{SGE_ROOT}/{_DRAFTS}"
    run(HEAD, [f"{BINARIES}/spoolinit", "classic", "libspoolc", f"{files.COMMON};{files.SPOOL}", "init"])
    orders = [
        ["configuration", f"{drafts}/configuration"],
        ["complexes", f"{drafts}/complexes"],
        ["usersets", f"{drafts}/usersets"],
        ["projects", f"{drafts}/projects"],
        ["pes", f"{drafts}/pes"],
        ["adminhosts", f"{drafts}/hosts"],
        ["submithosts", f"{drafts}/hosts"],
        ["managers", "root", files.ADMIN],
    ]
    for order in orders:
        run(HEAD, [f"{BINARIES}/spooldefaults", *order])
    run(HEAD, ["chown", "--recursive", files.ADMIN, files.COMMON, files.SPOOL])


def start_qmaster(run: RunOn, seconds: float = 20.0) -> None:
    """Start the qmaster and wait until it answers."""
    # A pid file left by a power cut names, in the new process table, a process that is something else.
    run(HEAD, ["rm", "-f", f"{files.SPOOL}/qmaster.pid"])
    run(HEAD, ["setsid", f"{BINARIES}/sge_qmaster"])
    until = time.monotonic() + seconds
    while not _answers(run):
        if time.monotonic() > until:
            raise LabError(f"The qmaster does not answer after {seconds:.0f} s.")
        time.sleep(_PAUSE)


def _answers(run: RunOn) -> bool:
    try:
        run(HEAD, ["qconf", "-ss"])
    except LabError:
        return False
    return True


def start_execds(run: RunOn, hosts: Sequence[str]) -> None:
    """Start the execution daemons of `hosts`, all at once: each takes two seconds to go to the background."""

    def start(host: str) -> None:
        run(host, ["rm", "-f", f"{files.MESSAGES}/{host}/execd.pid"])
        run(host, ["setsid", f"{BINARIES}/sge_execd"])

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(start, hosts))


def configure(run: RunOn, layout: Layout) -> None:
    """Give a running qmaster what it must be asked for: hosts, queues, quotas, scheduler."""
    drafts = f"{SGE_ROOT}/{_DRAFTS}"
    own = files.SIMULATED_SCHEDULER if layout.simulated else files.SCHEDULER
    scheduler = files.changed(run(HEAD, ["qconf", "-ssconf"]), own)
    _draft(layout.sge / _DRAFTS, {"scheduler": scheduler})
    run(HEAD, ["qconf", "-Msconf", f"{drafts}/scheduler"])
    for group in files.host_groups(layout):
        run(HEAD, ["qconf", "-Ahgrp", f"{drafts}/hostgroups/{group}"])
    for values, hosts in files.offers(layout).items():  # the group has made them known
        run(HEAD, ["qconf", "-rattr", "exechost", "complex_values", values, *hosts])
    for queue in files.QUEUES:
        run(HEAD, ["qconf", "-Aq", f"{drafts}/queues/{queue}"])
    if not layout.simulated:  # few people fill a large cluster there
        run(HEAD, ["qconf", "-Arqs", f"{drafts}/quotas"])


def wait_for_hosts(run: RunOn, hosts: Sequence[str], seconds: float = 20.0) -> None:
    """Wait until the execution daemons of `hosts` have reported; LabError names those that have not."""
    until = time.monotonic() + seconds
    while True:
        rows = [row.split() for row in run(HEAD, ["qhost"]).splitlines()]
        missing = set(hosts) - {row[0] for row in rows if len(row) > 1 and row[1] != "-"}
        if not missing:
            return
        if time.monotonic() > until:
            raise LabError(
                f"No word from the execution daemon of {', '.join(sorted(missing))} within {seconds:.0f} s."
            )
        time.sleep(_PAUSE)
