"""The grammar of names that reach Grid Engine: users, hosts, queues, projects, complexes, jobs, paths.

A name that does not match is refused, never repaired. ASCII only, since Grid Engine 8.1.9 refuses the rest.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

# A cluster queue, project, parallel environment or complex: narrower than sge_types(1) object_name;
# sites use letters, digits, dot, underscore and hyphen. One that begins with a hyphen would be an option of qsub.
OBJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# useradd(8): Debian's NAME_REGEX plus capitals and dots, which directory services bring.
USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}")
HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*")
TAG: Final = re.compile(r"[0-9a-f]{12}")
JOB_PREFIX: Final = "sgehub-"
# qsub(1) splits -o and -wd at "," and ":" and expands "$HOME", "$USER", "$JOB_ID" …
_PATH_TROUBLE: Final = re.compile(r"[\x00-\x1f\x7f,:$\\\"'`@*?]")


def new_tag() -> str:
    """Return the random mark of one start: 12 hexadecimal digits, unguessable and free of meaning."""
    return secrets.token_hex(6)


def job_name(tag: str) -> str:
    """Return the job's public name. It names neither the person nor the server."""
    return JOB_PREFIX + tag


def check_user(name: str) -> str:
    """Return `name`, or raise ValueError when no account can have it."""
    if not USER.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of an account.")
    return name


def check_path(path: str) -> str:
    """Return an absolute path that qsub takes literally, or raise ValueError with a sentence."""
    if not path.startswith("/"):
        raise ValueError(f"The path {path!r} is not absolute.")
    trouble = _PATH_TROUBLE.search(path)
    if trouble:
        raise ValueError(f"The path {path!r} holds {trouble.group()!r}, which qsub does not take literally.")
    return path


# What stands after "=" in qsub's -l without being split or matched as a pattern.
RESOURCE_VALUE: Final = re.compile(r"[A-Za-z0-9_.:+/-]{1,200}")
_LABEL_LIMIT: Final = 100


def check_label(text: str) -> str:
    """Return a name for people, or raise ValueError for one that is empty, too long, or no plain text."""
    if not text.strip() or not text.isprintable() or len(text) > _LABEL_LIMIT:
        raise ValueError(f"Write a label in one line of at most {_LABEL_LIMIT} characters.")
    return text


Label = Annotated[str, AfterValidator(check_label)]
ResourceValue = Annotated[str, StringConstraints(pattern=rf"^{RESOURCE_VALUE.pattern}$")]
ObjectName = Annotated[str, StringConstraints(pattern=rf"^{OBJECT.pattern}$")]
AccountName = Annotated[str, StringConstraints(pattern=rf"^{USER.pattern}$")]
HostName = Annotated[str, StringConstraints(pattern=rf"^{HOST.pattern}$", max_length=255)]
AbsolutePath = Annotated[str, AfterValidator(check_path)]
