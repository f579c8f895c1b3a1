"""One host of the lab: a holder process with namespaces of its own, and the way into them.

The holder is unshare(1) itself. Its record, written by itself before it makes anything, is all that is needed to
enter, crash or remove the host from any other process; with the holder's end the kernel takes everything away.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from sgehub.lab import processes
from sgehub.lab.errors import LabError
from sgehub.lab.layout import BINARIES, Layout

_READY = b"ready\n"  # what data/boot.sh says
FABRIC = "fabric"  # the holder of the bridge that joins the hosts; hosts may crash, it stays
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_SECONDS = 20.0
_DATA = Path(__file__).with_name("data")


def clean_environment() -> dict[str, str]:
    """Return the environment for tools run outside the hosts: nothing of ours but the path."""
    return {"PATH": SYSTEM_PATH, "LC_ALL": "C"}


def tool(argv: Sequence[str], *, text: str | None = None, timeout: float = 30.0) -> str:
    """Run a program of the machine and return its output.

    `text` is its standard input, `timeout` in seconds. Raises LabError with the program's own words.
    """
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            argv,
            input=text or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=clean_environment(),
        )
    except FileNotFoundError as error:
        raise LabError(f"The program {argv[0]} is missing.") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)} did not end within {timeout:.0f} s.") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)} failed with {done.returncode}: {words}")
    return done.stdout


def boot(layout: Layout, hosts: Sequence[str], lock: int) -> None:
    """Start hosts (or the fabric) side by side and wait until each has built its view of the file system.

    `lock` is held until each has written its record. Raises LabError with a host's own words if it cannot start.
    """
    with ExitStack() as stack:
        for host, said in [(host, stack.enter_context(_start(layout, host, lock))) for host in hosts]:
            readable, _, _ = select.select([said], [], [], _BOOT_SECONDS)
            if not readable or said.read(len(_READY)) != _READY:
                words = _log(layout, host).read_text(errors="replace").strip() or "it said nothing"
                raise LabError(f"The host {host} could not start (are Linux namespaces allowed here?): {words}")


def _start(layout: Layout, host: str, lock: int) -> IO[bytes]:
    """Start the holder of a host; return the pipe on which it says that it is ready."""
    unshare = ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--propagation", "private"]
    unshare += ["--fork", "--kill-child", "--mount-proc", "--"]
    inner = ["sh", str(_DATA / "boot.sh"), host, str(layout.root), str(layout.install or "")]
    if host == FABRIC:
        holding = "echo ready; exec tini -s -- sleep infinity >/dev/null 2>&1"
        inner = ["sh", "-c", holding, FABRIC, str(layout.root)]  # the last two are for who reads ps(1)
    # A session of its own and no parent of ours: it outlives us, and Ctrl-C does not reach it.
    argv = ["setsid", "--fork", "sh", str(_DATA / "hold.sh"), str(layout.record(host)), *unshare, *inner]
    said, ours = os.pipe()
    try:
        with _log(layout, host).open("wb") as errors:
            subprocess.run(  # noqa: S603 - an argument list, no shell
                argv,
                stdin=lock,
                stdout=ours,
                stderr=errors,
                env=clean_environment(),
                check=True,
                timeout=_BOOT_SECONDS,
            )
    except BaseException:
        os.close(said)
        raise
    finally:
        os.close(ours)
    return os.fdopen(said, "rb", buffering=0)


def _log(layout: Layout, host: str) -> Path:
    return layout.logs / f"boot-{host}"


def holder(layout: Layout, host: str) -> processes.Identity | None:
    """Return the living holder of a host's namespaces, or None if the host is off."""
    identity = processes.recorded(layout.record(host))
    return identity if identity is not None and processes.alive(identity) else None


def namespace(layout: Layout, host: str, kind: str) -> Path:
    """Return the path of a running host's namespace (`net`, `mnt`, `uts`, `ipc`, `pid`); LabError if it is off."""
    identity = holder(layout, host)
    if identity is None:
        raise LabError(f"The host {host} of the lab {layout.name} is off.")
    return Path(f"/proc/{identity.pid}/ns") / ("pid_for_children" if kind == "pid" else kind)


def entering(layout: Layout, host: str, kinds: Mapping[str, str] | None = None) -> list[str]:
    """Return the nsenter(1) arguments that enter a host; `kinds` maps its options to kinds of namespaces."""
    options = kinds or {"mount": "mnt", "uts": "uts", "ipc": "ipc", "net": "net", "pid": "pid"}
    return ["nsenter", *(f"--{option}={namespace(layout, host, kind)}" for option, kind in options.items()), "--"]


def connect(layout: Layout, host: str) -> None:
    """Plug a host into the fabric: one veth pair, its address, its way to the others."""
    address = layout.address(host)  # before anything is made: an unknown host is refused here
    identity = holder(layout, host)
    if identity is None:
        raise LabError(f"The host {host} of the lab {layout.name} ended while it was started.")
    net = {"net": "net"}
    pair = f"link add {host} type veth peer name eth0 netns {identity.pid}\nlink set {host} master br0 up\n"
    tool([*entering(layout, FABRIC, net), "ip", "-batch", "-"], text=pair)
    # A host keeps its hardware address over a crash, as a real one does: the others go on knowing it.
    hardware = ":".join(f"{number:02x}" for number in (2, 0, *map(int, address.split("."))))
    up = f"link set lo up\nlink set eth0 address {hardware}\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
    tool([*entering(layout, host, net), "ip", "-batch", "-"], text=up)


def make_bridge(layout: Layout) -> None:
    """Make the bridge in the fabric."""
    commands = "link add br0 type bridge stp_state 0 forward_delay 0\nlink set br0 up\n"
    tool([*entering(layout, FABRIC, {"net": "net"}), "ip", "-batch", "-"], text=commands)


def unplug(layout: Layout, host: str) -> None:
    """Cut a host's cable: nothing it sends, not even the end of a connection, reaches the others."""
    tool([*entering(layout, FABRIC, {"net": "net"}), "ip", "link", "del", host])


def plug(layout: Layout, host: str, *, connected: bool) -> None:
    """Cut a running host off the others, or join it again: what is sent meanwhile is lost in silence."""
    state = "up" if connected else "down"
    tool([*entering(layout, FABRIC, {"net": "net"}), "ip", "link", "set", host, state])


def as_user(user: str | None) -> list[str]:
    """Return the arguments that become `user` with all groups of the lab's /etc (root if None), setpriv(1).

    The command dies with the nsenter before it, so that a time-out leaves nothing behind.
    """
    who = [] if user in {None, "root"} else [f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return ["setpriv", *who, "--pdeathsig=KILL", "--"]


def account(layout: Layout, user: str | None) -> tuple[str, str]:
    """Return home and login shell of an account of the lab; LabError if it has none of this name."""
    for line in (layout.etc / "passwd").read_text().splitlines():
        name, _, _, _, _, home, shell = line.split(":")
        if name == (user or "root"):
            return home, shell
    raise LabError(f"The lab {layout.name} has no account {user!r}.")


def environment(
    layout: Layout, user: str | None, cell: Mapping[str, str], extra: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the whole environment of a command in the lab: nothing of the calling process gets in."""
    home, shell = account(layout, user)
    name = user or "root"
    base = {
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "SHELL": shell,
        "PATH": f"{BINARIES}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        **cell,
    }
    return {**base, **(extra or {})}
