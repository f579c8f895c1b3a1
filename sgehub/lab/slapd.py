"""The lab's directory: an OpenLDAP server on the head with TLS, people and groups, from files of our own.

Debian's configuration of slapd plays no part. Passwords are the names; they are only taken over TLS.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sgehub.lab.host import tool
from sgehub.lab.layout import DOMAIN, GROUP_IDS, HEAD, LDAP_CA, Layout, Person

ACCOUNT = "openldap"
FOLDER = "/srv/slapd"  # on the head
URLS = "ldap:/// ldaps:///"
RunOn = Callable[[str, Sequence[str]], str]

_CONFIGURATION = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {FOLDER}/slapd.pid
TLSCACertificateFile {LDAP_CA}
TLSCertificateFile {FOLDER}/server.pem
TLSCertificateKeyFile {FOLDER}/server.key
security simple_bind=128
database mdb
suffix "{DOMAIN}"
directory {FOLDER}/data
dbnosync
index objectClass,uid,member,memberUid eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth by * none
"""


def password_hash(password: str, salt: bytes) -> str:
    """Return a userPassword value of the scheme SSHA (slapd.conf(5), password-hash)."""
    digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324 - the scheme every slapd has; lab passwords
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def _entry(name: str, attributes: Iterable[tuple[str, str]]) -> str:
    return "".join([f"dn: {name}\n", *(f"{key}: {value}\n" for key, value in attributes), "\n"])


def _person(person: Person) -> str:
    classes = ("inetOrgPerson", "posixAccount", "shadowAccount")
    return _entry(
        dn(person.name),
        [
            *(("objectClass", name) for name in classes),
            ("uid", person.name),
            ("cn", person.name.title()),
            ("sn", person.name.title()),
            ("mail", person.mail),
            ("uidNumber", str(person.uid)),
            ("gidNumber", str(person.uid)),
            ("homeDirectory", person.home),
            ("loginShell", "/bin/bash"),
            ("userPassword", password_hash(person.name, person.name.encode())),
        ],
    )


def dn(person: str) -> str:
    """Return the distinguished name of a person."""
    return f"uid={person},ou=people,{DOMAIN}"


def ldif(layout: Layout) -> str:
    """Return what the directory holds: people, a groupOfNames and a posixGroup for each group of the lab."""
    entries = [
        _entry(DOMAIN, [("objectClass", "domain"), ("dc", "lab")]),
        *(
            _entry(f"ou={unit},{DOMAIN}", [("objectClass", "organizationalUnit"), ("ou", unit)])
            for unit in ("people", "groups", "posix")
        ),
        *map(_person, layout.persons),
    ]
    for group, number in GROUP_IDS.items():
        members = layout.members(group)
        posix = [("objectClass", "posixGroup"), ("cn", group), ("gidNumber", str(number))]
        entries.append(
            _entry(f"cn={group},ou=posix,{DOMAIN}", [*posix, *(("memberUid", name) for name in members)])
        )
        if members:  # a groupOfNames without members is not allowed
            named = [("objectClass", "groupOfNames"), ("cn", group), *(("member", dn(name)) for name in members)]
            entries.append(_entry(f"cn={group},ou=groups,{DOMAIN}", named))
    return "".join(entries)


def _make_certificates(folder: Path, layout: Layout) -> None:
    """Make an authority and the head's certificate, both trusted in this lab only."""
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "3650",
    ]
    authority, authority_key = str(folder / "ca.pem"), str(folder / "ca.key")
    tool(
        [
            *new,
            "-subj",
            "/CN=sgehub lab authority",
            "-out",
            authority,
            "-keyout",
            authority_key,
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]
    )
    names = f"subjectAltName=DNS:{HEAD},DNS:localhost,IP:{layout.address(HEAD)},IP:127.0.0.1"
    tool(
        [
            *new,
            "-subj",
            f"/CN={HEAD}",
            "-out",
            str(folder / "server.pem"),
            "-keyout",
            str(folder / "server.key"),
            "-CA",
            authority,
            "-CAkey",
            authority_key,
            "-addext",
            names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]
    )
    Path(authority_key).unlink()  # nobody signs anything more


def write_files(layout: Layout) -> None:
    """Write configuration, content and certificates; the lab's /etc must be there."""
    folder = layout.own(HEAD) / "srv" / Path(FOLDER).name
    folder.mkdir(mode=0o700)
    (folder / "data").mkdir()
    (folder / "slapd.conf").write_text(_CONFIGURATION)
    (folder / "people.ldif").write_text(ldif(layout))
    _make_certificates(folder, layout)
    authority = layout.etc / Path(LDAP_CA).relative_to("/etc")
    shutil.move(folder / "ca.pem", authority)
    authority.chmod(0o644)


def load(run: RunOn) -> None:
    """Fill the database, slapadd(8)."""
    run(HEAD, ["slapadd", "-q", "-f", f"{FOLDER}/slapd.conf", "-l", f"{FOLDER}/people.ldif"])
    run(HEAD, ["chown", "--recursive", f"{ACCOUNT}:{ACCOUNT}", FOLDER])


def start(run: RunOn) -> None:
    """Start the server; it answers when this returns, for slapd(8) listens before it goes to the background."""
    run(HEAD, ["slapd", "-f", f"{FOLDER}/slapd.conf", "-h", URLS, "-u", ACCOUNT, "-g", ACCOUNT])
