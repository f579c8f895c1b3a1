"""Names, addresses, people and paths of one lab.

Pure: it computes where everything is, and neither reads nor makes any of it. What a second process must know to
re-open a lab is exactly this value, kept as JSON in the lab's folder.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from sgehub.lab.errors import LabError

HEAD = "head"
DOMAIN = "dc=lab,dc=test"
HUB_ACCOUNT = "jupyterhub"
HUB_UID = 1999
FIRST_PERSON_UID = 2001
# Groups besides everybody's own. `sgehub` holds all people: the hub may act for its members.
GROUP_IDS = {"sgehub": 1990, "astro": 1991, "genomics": 1992}
NAMED_PEOPLE = {"alice": ("astro",), "bob": ("genomics",), "carol": ("astro", "genomics")}

GPUS = 2  # on the last execution host
SGE_ROOT = "/opt/sge"
SGE_CELL = "lab"
BINARIES = "/usr/lib/gridengine"  # /usr/bin/q* are wrappers that fork a dozen times a call
LDAP_CA = "/etc/sgehub/ldap-ca.pem"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SUBNET = re.compile(r"(?:\d{1,3}\.){2}\d{1,3}")
_PERSON = re.compile(r"[a-z][a-z0-9]{0,30}")
_MOST_HOSTS = 200
_MOST_SIMULATED = 5000
_MOST_PEOPLE = 5000


@dataclass(frozen=True)
class Person:
    """One person with an account: numeric user id (the private group has the same) and further groups."""

    name: str
    uid: int
    groups: tuple[str, ...]

    @property
    def home(self) -> str:
        """Return the home folder as every host sees it."""
        return f"/home/{self.name}"

    @property
    def mail(self) -> str:
        """Return the mail address."""
        return f"{self.name}@lab.test"


def people_named(count: int) -> tuple[str, ...]:
    """Return `count` account names: alice, bob, carol, then u004, u005 and so on."""
    return (*NAMED_PEOPLE, *(f"u{number:03d}" for number in range(4, count + 1)))[:count]


@dataclass(frozen=True)
class Layout:
    """Where things are in one lab.

    `root` is the lab's folder on the machine; `nodes` counts the execution hosts; `install` is the virtual
    environment seen at /opt/sgehub, or None; `site` is the folder that holds the project's config/ and scripts/;
    `simulated` execution hosts are names only, which all mean the head.
    """

    name: str
    subnet: str
    root: Path
    nodes: int
    people: tuple[str, ...]
    install: Path | None
    site: Path
    simulated: bool = False

    def __post_init__(self) -> None:
        """Refuse what would become a wrong file, address or account later."""
        most, kind = (_MOST_SIMULATED, "simulated") if self.simulated else (_MOST_HOSTS, "execution")
        problems = (
            (
                not _NAME.fullmatch(self.name),
                f"The lab's name {self.name!r} must be lower-case letters, digits and -.",
            ),
            (
                not _SUBNET.fullmatch(self.subnet) or max(map(int, self.subnet.split("."))) > 255,  # noqa: PLR2004 - the largest octet
                f"The subnet {self.subnet!r} must be three numbers such as 10.77.0.",
            ),
            (
                not 1 <= self.nodes <= most,
                f"A lab has 1 to {most} {kind} hosts, not {self.nodes}.",
            ),
            (not 1 <= len(self.people) <= _MOST_PEOPLE, f"A lab has 1 to {_MOST_PEOPLE} people."),
            (len(set(self.people)) != len(self.people), "Two people of the lab have the same name."),
            (
                not self.root.is_absolute() or any(c.isspace() for c in str(self.root)),
                "The lab's folder must be an absolute path without spaces.",
            ),
        )
        wrong = [message for failed, message in problems if failed]
        reserved = {HUB_ACCOUNT, *GROUP_IDS}
        wrong += [
            f"{person!r} cannot be the name of a person of the lab."
            for person in self.people
            if not _PERSON.fullmatch(person) or person in reserved
        ]
        if wrong:
            raise LabError(" ".join(wrong))

    @property
    def node_names(self) -> tuple[str, ...]:
        """Return the execution hosts, in order; the last one holds the GPUs."""
        if self.simulated:
            return tuple(f"sim{number:04d}" for number in range(1, self.nodes + 1))
        return tuple(f"node{number:02d}" for number in range(1, self.nodes + 1))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return all hosts that are there, the head first."""
        return (HEAD,) if self.simulated else (HEAD, *self.node_names)

    def address(self, host: str) -> str:
        """Return the IPv4 address of `host`; LabError if the lab has no such host."""
        if host not in self.hosts:
            raise LabError(f"The lab {self.name} has no host {host!r}; it has {', '.join(self.hosts)}.")
        return f"{self.subnet}.{10 + self.hosts.index(host)}"

    @property
    def persons(self) -> tuple[Person, ...]:
        """Return the people with their ids and groups."""
        return tuple(
            Person(name, FIRST_PERSON_UID + index, ("sgehub", *_groups_of(name, index)))
            for index, name in enumerate(self.people)
        )

    def members(self, group: str) -> tuple[str, ...]:
        """Return the names of the people in `group`."""
        return tuple(person.name for person in self.persons if group in person.groups)

    @property
    def etc(self) -> Path:
        """Return the folder every host sees as /etc."""
        return self.root / "etc"

    @property
    def homes(self) -> Path:
        """Return the folder every host sees as /home."""
        return self.root / "home"

    @property
    def sge(self) -> Path:
        """Return the folder every host sees as SGE_ROOT."""
        return self.root / "sge"

    @property
    def state(self) -> Path:
        """Return the file that holds this layout."""
        return self.root / "lab.json"

    @property
    def ready(self) -> Path:
        """Return the file whose presence says that `up` came to its end."""
        return self.root / "ready"

    @property
    def logs(self) -> Path:
        """Return the folder of what hosts said while they booted."""
        return self.root / "log"

    def own(self, host: str) -> Path:
        """Return the folder that holds what only `host` sees: its tmp, srv, spool."""
        return self.root / "hosts" / host

    def record(self, holder: str) -> Path:
        """Return the file in which the process that holds a host's namespaces wrote who it is."""
        return self.root / "holders" / holder

    def to_json(self) -> str:
        """Return this layout as JSON text."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Read a layout back from its JSON text."""
        fields = json.loads(text)
        install = fields["install"]
        return cls(
            **{
                **fields,
                "root": Path(fields["root"]),
                "people": tuple(fields["people"]),
                "install": None if install is None else Path(install),
                "site": Path(fields["site"]),
            }
        )


def _groups_of(name: str, index: int) -> tuple[str, ...]:
    """Give named people their groups, and everybody else one of the two in turn."""
    return NAMED_PEOPLE.get(name) or (("astro", "genomics")[index % 2],)
