"""Argument lists of Grid Engine's commands.

The law of this file: pure; a list is a list, and a value that Grid Engine would split, expand or take for an
option is refused, never quoted or repaired. Switches are explicit, since sge_request(5) and sge_qstat(5) files set
others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sgehub.errors import AccountError, SiteConfigurationError
from sgehub.model.jobspec import JobSpec
from sgehub.model.names import check_user

# sge_types(1) object_name, without what Grid Engine 8.1.9 or its XML cannot carry.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._+-]*")
_SHOWN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")  # all but jobs may begin with a digit, qsub(1) -N
_QUEUE: Final = r"[A-Za-z0-9_@*?!(][A-Za-z0-9._@*?!|&()-]*"
_QUEUES: Final = re.compile(f"{_QUEUE}(,{_QUEUE})*")
_RESOURCE_VALUE: Final = re.compile(r"[A-Za-z0-9_.:*?!|&()/+-]+")
_MOMENTS: Final = re.compile(r"[bea]{1,3}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9][A-Za-z0-9.-]*")  # -M splits lists at ","
_WORD: Final = re.compile(r"[A-Za-z0-9_.:=+/,@-]{1,200}")
# Measured with 8.1.9: "," and ":" split -o, "$" begins a pseudo variable such as $HOME or $JOB_ID, in -wd too.
# Everything else is taken as it stands: blanks, quotes, backslashes, wildcards, UTF-8.
_SPLIT: Final = re.compile(r"[,:$\x00-\x1f\x7f]")


def submit_options(spec: JobSpec) -> tuple[str, ...]:
    """Return qsub's options for a job, without the script; they override those of files and of the script.

    Raises AccountError when the home folder's path cannot be given to Grid Engine, SiteConfigurationError when a
    name or a value cannot.
    """
    return (
        *(_word(one) for one in spec.switches),
        *("-terse", "-b", "n", "-now", "n"),
        *("-S", _path(spec.shell)),
        *("-wd", _path(spec.home)),
        *("-j", "y", "-o", _path(spec.log)),
        *("-N", _checked(_NAME, spec.name, "job name")),
        *("-r", "n"),
        *(["-notify"] if spec.notify else []),
        *_requests(spec),
    )


def _requests(spec: JobSpec) -> Iterator[str]:
    if spec.resources:
        yield "-l"
        yield ",".join(
            f"{_checked(_SHOWN, name, 'resource')}={_checked(_RESOURCE_VALUE, value, 'value of a resource')}"
            for name, value in spec.resources
        )
    if spec.pe is not None:
        if spec.slots < 1:
            raise SiteConfigurationError(f"{spec.slots} slots cannot be requested.")
        yield from ("-pe", _checked(_SHOWN, spec.pe, "parallel environment"), str(spec.slots))
    if spec.queue is not None:
        yield from ("-q", _checked(_QUEUES, spec.queue, "queue"))
    if spec.project is not None:
        yield from ("-P", _checked(_SHOWN, spec.project, "project"))
    if spec.mail is not None:
        moments, address = spec.mail
        yield from ("-m", _checked(_MOMENTS, moments, "moment of e-mail"))
        yield from ("-M", _checked(_ADDRESS, address, "e-mail address"))
    if spec.reservation is not None:
        yield from ("-ar", str(spec.reservation))
    if spec.reserve:
        yield from ("-R", "y")


def _word(text: str) -> str:
    return _checked(_WORD, text, "word of a field's options")


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise SiteConfigurationError(f"Grid Engine would not take {text!r} as a {what}.")
    return text


def _path(path: str) -> str:
    trouble = _SPLIT.search(path)
    if trouble:
        raise AccountError(
            f"Grid Engine cannot use the folder of {path!r}, because of the character {trouble[0]!r} in its name."
        )
    if not path.startswith("/"):
        raise AccountError(f"Grid Engine needs an absolute path, and {path!r} is none.")
    return path


def qstat_list(folder: str, owners: Collection[str] | None = None) -> list[str]:
    """Ask for all jobs of the owners, of everybody if none is named, that are pending, running or suspended.

    Raises AccountError for a name that no account can have.
    """
    try:
        whose = ",".join(sorted(map(check_user, owners or ()))) or "*"
    except ValueError as error:
        raise AccountError(str(error)) from None
    return [f"{folder}/qstat", "-u", whose, "-s", "prs", "-xml"]


def qstat_detail(folder: str, job: int | str) -> list[str]:
    """Ask for all there is to know of one job, by its number or by a name without wildcards."""
    wanted = str(job) if isinstance(job, int) else _checked(_NAME, job, "job name")
    return [f"{folder}/qstat", "-j", wanted, "-xml"]


def qacct(folder: str, number: int) -> list[str]:
    """Ask for the records of one job's runs."""
    return [f"{folder}/qacct", "-j", str(number)]


def qhost(folder: str, complexes: Sequence[str] = ()) -> list[str]:
    """Ask for all execution hosts with their queue instances and the named complexes."""
    wanted = ",".join(_checked(_NAME, name, "resource") for name in complexes)
    return [f"{folder}/qhost", "-q", *(["-F", wanted] if wanted else []), "-xml"]


def qconf(folder: str, switch: str, *names: str) -> list[str]:
    """Ask for a part of the configuration: "-sc", "-sql", "-sq" with names; only for switches that show.

    Raises SiteConfigurationError for another switch, and for a name that would ask for others.
    """
    if not switch.startswith("-s") or switch.startswith("-sm"):
        raise SiteConfigurationError(f"qconf {switch} is not asked by the hub.")
    return [
        f"{folder}/qconf",
        switch,
        *([",".join(_checked(_SHOWN, name, "name") for name in names)] if names else []),
    ]


def qconf_hosts(folder: str, hosts: Collection[str]) -> list[str]:
    """Ask for the definitions of several execution hosts: "-se" takes one name, but may stand often."""
    checked = (_checked(_SHOWN, host, "host") for host in hosts)
    return [f"{folder}/qconf", *(word for host in checked for word in ("-se", host))]
