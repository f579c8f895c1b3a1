"""The files every host sees instead of the machine's: a copy of /etc with the lab's own accounts, names and rules.

Pure functions make the texts; `write` copies and writes them. The machine's /etc is read, never written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from sgehub.lab.host import tool
from sgehub.lab.layout import DOMAIN, GPUS, GROUP_IDS, HEAD, HUB_ACCOUNT, HUB_UID, LDAP_CA, Layout

_FIRST_PERSON = 1000  # Debian's accounts of people start here
_NOBODY = 65534
NSSWITCH = (
    "\n".join(
        f"{table}: files"
        for table in (
            "passwd",
            "group",
            "shadow",
            "gshadow",
            "hosts",
            "networks",
            "protocols",
            "services",
            "ethers",
            "rpc",
        )
    )
    + "\n"
)
SUDOERS = """# The lab's own; the machine's is not consulted.
Defaults env_reset
root ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
"""


def hosts_text(layout: Layout) -> str:
    """Return /etc/hosts. A host's name never resolves to 127.x, which Grid Engine refuses.

    The head's own line comes before those of simulated hosts, so that its address means the head.
    """
    lines = ["127.0.0.1 localhost", "::1 ip6-localhost ip6-loopback"]
    lines += [f"{layout.address(host)} {host}" for host in layout.hosts]
    if layout.simulated:
        lines += [f"{layout.address(HEAD)} {host}" for host in layout.node_names]
    return "\n".join(lines) + "\n"


def _system_lines(text: str, column: int, taken: Iterable[str]) -> list[str]:
    """Return the machine's lines of accounts or groups below those of people, but for names of ours."""
    kept = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > column and fields[column].isdigit() and fields[0] not in taken:
            number = int(fields[column])
            if number < _FIRST_PERSON or number == _NOBODY:
                kept.append(line)
    return kept


def passwd_text(machine: str, layout: Layout) -> str:
    """Return passwd(5): the machine's system accounts, the hub's account, the people."""
    ours = [f"{HUB_ACCOUNT}:x:{HUB_UID}:{HUB_UID}:JupyterHub:/srv/jupyterhub:/usr/sbin/nologin"]
    ours += [f"{p.name}:x:{p.uid}:{p.uid}:{p.name.title()}:{p.home}:/bin/bash" for p in layout.persons]
    return "\n".join([*_system_lines(machine, 2, {HUB_ACCOUNT, *layout.people}), *ours]) + "\n"


def group_text(machine: str, layout: Layout) -> str:
    """Return group(5): the machine's system groups without members of its own, the lab's groups, one a person."""
    taken = {HUB_ACCOUNT, *GROUP_IDS, *layout.people}
    system = [":".join([*line.split(":")[:3], ""]) for line in _system_lines(machine, 2, taken)]
    ours = [f"{name}:x:{number}:{','.join(layout.members(name))}" for name, number in GROUP_IDS.items()]
    ours.append(f"{HUB_ACCOUNT}:x:{HUB_UID}:")
    ours += [f"{person.name}:x:{person.uid}:" for person in layout.persons]
    return "\n".join([*system, *ours]) + "\n"


def shadow_text(layout: Layout, hashes: Iterable[str]) -> str:
    """Return shadow(5), in which sudo wants a line for its caller; `hashes` are the people's, of crypt(3)."""
    locked = [f"{name}:*:19000:0:99999:7:::" for name in ("root", HUB_ACCOUNT)]
    people = [f"{name}:{secret}:19000:0:99999:7:::" for name, secret in zip(layout.people, hashes, strict=True)]
    return "\n".join([*locked, *people]) + "\n"


def ldap_conf_text() -> str:
    """Return ldap.conf(5), so that ldapsearch needs no options."""
    return f"BASE {DOMAIN}\nURI ldaps://{HEAD}\nTLS_CACERT {LDAP_CA}\nTLS_REQCERT demand\n"


def gpus_text(layout: Layout) -> str:
    """Return the table gpu-prolog reads: the hosts with devices, which the lab only pretends to have."""
    return f"{layout.node_names[-1]} {' '.join(map(str, range(GPUS)))}\n"


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file, in a folder made if missing; never through a symbolic link that the copy brought along."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def write(layout: Layout) -> None:
    """Make the lab's /etc from the machine's."""
    etc = layout.etc
    tool(["cp", "--archive", "/etc/.", str(etc)])
    for name in ("sudoers.d", "jupyterhub", "sgehub", "profile.d"):
        shutil.rmtree(etc / name, ignore_errors=True)
    for name in ("gshadow", "subuid", "subgid"):
        (etc / name).unlink(missing_ok=True)
    passwords = "".join(f"{name}\n" for name in layout.people)
    hashes = tool(["openssl", "passwd", "-6", "-stdin"], text=passwords, timeout=60).split()
    _write(etc / "hosts", hosts_text(layout))
    _write(etc / "hostname", "localhost\n")
    _write(etc / "resolv.conf", "")
    _write(etc / "environment", "")
    _write(etc / "nsswitch.conf", NSSWITCH)
    _write(etc / "passwd", passwd_text(Path("/etc/passwd").read_text(), layout))
    _write(etc / "group", group_text(Path("/etc/group").read_text(), layout))
    _write(etc / "shadow", shadow_text(layout, hashes), 0o640)
    _write(etc / "ldap" / "ldap.conf", ldap_conf_text())
    _write(etc / "sudoers", SUDOERS, 0o440)
    (etc / "sudoers.d").mkdir(mode=0o755)
    rule = layout.site / "config" / "sudoers.d" / "sgehub"
    if rule.exists():
        _write(etc / "sudoers.d" / "sgehub", rule.read_text(), 0o440)
    for name in ("jupyterhub", "sgehub"):
        (etc / name).mkdir(mode=0o755)
    _write(etc / "sgehub" / "gpus", gpus_text(layout))
