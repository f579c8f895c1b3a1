"""The documented table of requests: what was typed, and what Grid Engine got; written by hand, measured, compared.

What Grid Engine got is said in the switches of qsub(1), worked out from `qstat -j` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parents[2] / "docs" / "reference" / "requests.inc"
SITES: Final = Path(__file__).parents[1] / "data" / "sites"
HEADER: Final = ("typed", "what Grid Engine got, or why nothing was submitted")
REFUSED: Final = "Refused: "


@dataclass(frozen=True)
class Row:
    """One request: the site's file, what was typed as a link writes it, and what came of it."""

    site: str
    typed: str
    got: str

    @property
    def fields(self) -> dict[str, str]:
        """What was typed, field by field."""
        return dict(one.split("=", 1) for one in self.typed.split(" & ")) if self.typed else {}


def _rows(site: str, *rows: tuple[str, str]) -> tuple[Row, ...]:
    return tuple(Row(site, typed, got) for typed, got in rows)


PER_SLOT: Final = _rows(
    "memory-per-slot",
    ("", "-l rmem=2G,h_rt=3600 -q short.q,long.q,gpu.q"),
    ("cores=4 & memory=16G", "-pe smp 4 -l rmem=4G,h_rt=3600 -q short.q,long.q,gpu.q"),
    (
        "cores=3 & memory=4G & pe=openmp & runtime=02:00:00",
        "-pe openmp 3 -l rmem=1398102K,h_rt=7200 -q long.q,gpu.q",
    ),
    ("pe=openmp", "-l rmem=2G,h_rt=3600 -q short.q,long.q,gpu.q"),
    ("memory=1.5G & queue=short.q & runtime=600", "-l rmem=1536M,h_rt=600 -q short.q"),
    ("cores=1 & gpus=3", "-l rmem=2G,h_rt=3600,ngpus=3 -q gpu.q"),
    ("cores=2 & gpus=2", "-pe smp 2 -l rmem=1G,h_rt=3600,ngpus=1 -q gpu.q"),
    ("cores=2 & gpus=4 & pe=openmp", "-pe openmp 2 -l rmem=1G,h_rt=3600,ngpus=2 -q gpu.q"),
    (
        "cores=2 & gpus=4 & memory=8G & project=astro",
        "-pe smp 2 -l rmem=4G,h_rt=3600,ngpus=2 -q gpu.q -P astro",
    ),
    ("cores=2 & gpus=0", "-pe smp 2 -l rmem=1G,h_rt=3600 -q short.q,long.q,gpu.q"),
    (
        "cores=2 & gpus=1",
        "Refused: Each core gets the same number of GPUs here: with 2 cores ask for 0 or 2 GPUs.",
    ),
    (
        "cores=2 & gpus=3",
        "Refused: Each core gets the same number of GPUs here: with 2 cores ask for 2 or 4 GPUs.",
    ),
    (
        "cores=2 & gpus=4 & queue=long.q",
        "Refused: No GPUs in queue long.q.",
    ),
    ("pe=mpi", "Refused: There is no parallel environment mpi. Parallel environments are: smp, openmp."),
    ("cores=5 & project=genomics", "Refused: At most 4 cores for project genomics."),
    ("project=genomics", 'Refused: No access to project "genomics" for user "alice".'),
    ("cores=0", "Refused: A session needs at least 1 core."),
    (
        "cores=7 & memory=64G",
        "Refused: At most 67108860K of memory with 7 cores: each core's share is rounded up to whole K.",
    ),
)
LIMIT_AND_FREE: Final = _rows(
    "limit-and-free",
    ("", "-l h_vmem=3G,mem_free=2G,h_rt=3600 -q long.q,gpu.q"),
    (
        "cores=4 & memory=8G & runtime=10:00:00",
        "-pe smp 4 -l h_vmem=3G,mem_free=8G,h_rt=36000 -q long.q",
    ),
    ("memory=5g", "-l h_vmem=7324219K,mem_free=4882813K,h_rt=3600 -q long.q,gpu.q"),
    ("memory=40G", "-l h_vmem=60G,mem_free=40G,h_rt=3600 -q long.q,gpu.q"),
    ("cores=3 & memory=10G", "-pe smp 3 -l h_vmem=5G,mem_free=10G,h_rt=3600 -q long.q,gpu.q"),
    ("cores=7 & memory=1G", "-pe smp 7 -l h_vmem=224695K,mem_free=1G,h_rt=3600 -q long.q,gpu.q"),
    (
        "cores=4 & memory=8G & gpus=2",
        "-pe smp 4 -l h_vmem=3G,mem_free=8G,h_rt=3600,gpu=2 -q gpu.q",
    ),
    ("gpus=1 & gpu_type=a100", "-l h_vmem=3G,mem_free=2G,h_rt=3600,gpu=1,gpu_type=a100 -q gpu.q"),
    ("gpus=0 & gpu_type=a100", "-l h_vmem=3G,mem_free=2G,h_rt=3600 -q long.q,gpu.q"),
    ("gpus=1 & gpu_type=k80", "Refused: No queue has GPUs of type k80 and the rest of this."),
    (
        "gpus=1 & gpu_type=v100",
        "Refused: There is no type of GPU called v100. Types are: a100, k80.",
    ),
    (
        "gpus=1 & runtime=40:00:00",
        (
            "Refused: No queue offers all of this together: long.q offers at most 16 cores, 40G, 0 GPUs "
            "and 48 hours; gpu.q offers at most 8 cores, 40G, 2 GPUs and 8 hours."
        ),
    ),
    ("memory=41G", "Refused: At most 40G of memory."),
    ("queue=gpu.q & runtime=9:0:0", "Refused: At most 08:00:00 (8 hours) in queue gpu.q."),
)
PER_JOB: Final = _rows(
    "memory-per-job",
    ("", "-l m_mem_free=4G,h_rt=3600"),
    ("cores=4 & memory=100G & runtime=::90", "-pe smp 4 -l m_mem_free=100G,h_rt=90"),
    ("cores=8", "-pe smp 8 -l m_mem_free=4G,h_rt=3600 -R y"),
    ("cores=16 & memory=128G & runtime=47:59:59", "-pe smp 16 -l m_mem_free=128G,h_rt=172799 -R y"),
    ("queue=long.q", "-l m_mem_free=4G,h_rt=3600 -q long.q"),
    ("reservation=1 & runtime=00:30:00", "-l m_mem_free=4G,h_rt=1800 -ar 1"),
    (
        "reservation=1 & cores=8 & queue=long.q & runtime=00:30:00",
        "-pe smp 8 -l m_mem_free=4G,h_rt=1800 -q long.q -ar 1 -R y",
    ),
    ("reservation=99", "Refused: The advance reservation id 99 is invalid."),
    ("reservation=next week", 'Refused: "next week" is not a whole number. Write digits only, for example 2.'),
    ("reservation=0", 'Refused: "0" is not the number of an advance reservation.'),
    ("gpus=1", "Refused: This cluster offers no GPUs: ask for 0."),
    ("mail=alice@example.org", "Refused: This site sends no e-mail: leave it empty."),
)
ONE_CORE: Final = _rows(
    "one-core",
    ("", "-l mem_free=1G,h_rt=3600 -q short.q"),
    ("preset=lesson", "-l mem_free=2G,h_rt=2700 -q short.q"),
    ("preset=lesson & memory=3G", "-l mem_free=3G,h_rt=2700 -q short.q"),
    ("preset=project", "-l mem_free=8G,h_rt=3600 -q short.q"),
    ("preset=exam", 'Refused: There is no preset "exam". Presets are: lesson, project.'),
    ("cores=2", "Refused: Sessions of this cluster have 1 core: it has no parallel environment."),
    ("queue=long.q", "Refused: This is set to short.q here and cannot be changed."),
    ("project=astro", "Refused: There is no project astro. Leave it empty."),
    ("memory=100M", "Refused: A session needs at least 256M of memory."),
    ("reservation=1", "Refused: This site offers no advance reservations: leave it empty."),
)
OWN_FIELDS: Final = _rows(
    "own-fields",
    ("extra.licence=matlab", "-l h_vmem=2G,h_rt=3600,matlab=1 -q short.q,long.q,gpu.q"),
    (
        "cores=2 & extra.licence=abaqus",
        "-pe smp 2 -l h_vmem=1G,h_rt=3600,abaqus=5 -q short.q,long.q,gpu.q -A teaching",
    ),
    ("extra.scratch=040", "-l h_vmem=2G,h_rt=3600,tmpfs=40G,ssd=TRUE -q short.q,long.q,gpu.q"),
    ("extra.polite=yes", "-l h_vmem=2G,h_rt=3600 -q short.q,long.q,gpu.q -p -100 -ac polite=yes"),
    (
        "cores=2 & gpus=1 & extra.licence=abaqus & extra.scratch=10 & extra.polite=yes & mail=a.b+c@example.org",
        (
            "-pe smp 2 -l h_vmem=1G,h_rt=3600,gpu=1,abaqus=5,tmpfs=10G,ssd=TRUE -q gpu.q "
            "-m ae -M a.b+c@example.org -A teaching -p -100 -ac polite=yes"
        ),
    ),
    ("gpus=3", "Refused: At most 2 GPUs."),
    ("mail=alice@example.org", "-l h_vmem=2G,h_rt=3600 -q short.q,long.q,gpu.q -m ae -M alice@example.org"),
    ("mail=alice@elsewhere.org", "Refused: Write an address at example.org or students.example.org."),
    (
        "mail=alice@example.org,root@example.org",
        'Refused: "alice@example.org,root@example.org" is not an e-mail address.',
    ),
    ("folder=thesis/data", "-l h_vmem=2G,h_rt=3600 -q short.q,long.q,gpu.q"),
    ("folder=/scratch/alice/run", "-l h_vmem=2G,h_rt=3600 -q short.q,long.q,gpu.q"),
    ("extra.licence= & extra.polite=", "-l h_vmem=2G,h_rt=3600 -q short.q,long.q,gpu.q"),
    (
        "folder=/etc",
        (
            "Refused: Write a folder of your home, written without the part before it, such as projects/x, "
            "or one below /scratch/NAME."
        ),
    ),
    ("extra.scratch=501", "Refused: Write a whole number from 1 to 500."),
    ("extra.licence=comsol", "Refused: There is no such choice. Choices are: matlab, abaqus."),
    ("extra.polite=no", 'Refused: Write "yes", or nothing.'),
    ("extra.A=root", "Refused: There is no field extra.A. Those of this site are: licence, scratch, polite."),
)
PROJECTS: Final = _rows(
    "every-session-has-a-project",
    ("", "Refused: Every session needs a project: astro, genomics."),
    ("project=astro", "-l h_vmem=2G,h_rt=3600 -q long.q,gpu.q -P astro"),
    ("project=astro & queue=gpu.q", "-l h_vmem=2G,h_rt=3600 -q gpu.q -P astro"),
    (
        "project=astro & cores=3 & memory=3G & gpus=1",
        "-pe openmp 3 -l h_vmem=1G,h_rt=3600,gpu=1 -q gpu.q -P astro",
    ),
    ("project=astro & cores=2 & pe=smp & memory=16G", "-pe smp 2 -l h_vmem=8G,h_rt=3600 -q long.q,gpu.q -P astro"),
    ("project=astro & gpus=2", "Refused: At most 1 GPU for project astro."),
    ("project=astro & memory=17G", "Refused: At most 16G of memory for project astro."),
    (
        "project=genomics & gpus=1",
        "Refused: Project genomics may use long.q only, which offers less.",
    ),
    ("project=genomics & queue=gpu.q", "Refused: Project genomics may not use gpu.q, only long.q."),
    (
        "project=genomics & runtime=36:00:00",
        "Refused: At most 24:00:00 (24 hours) for project genomics.",
    ),
    ("project=physics", "Refused: There is no project physics. Projects are: astro, genomics."),
)
ROWS: Final = (*PER_SLOT, *LIMIT_AND_FREE, *PER_JOB, *ONE_CORE, *OWN_FIELDS, *PROJECTS)

# Where `qstat -j` writes what a switch of qsub has asked for, in the order in which the table shows them.
_SWITCHES: Final[Mapping[str, str]] = {
    "parallel environment": "-pe",
    "hard resource_list": "-l",
    "hard_queue_list": "-q",
    "project": "-P",
    "mail_options": "-m",
    "mail_list": "-M",
    "ar_id": "-ar",
    "reserve": "-R",
    "account": "-A",
    "priority": "-p",
    "context": "-ac",
}
# What 8.1.9 writes where a switch was not given.
_UNASKED: Final = {"account": "sge", "mail_list": "alice@head"}


def read_jobs(shown: str) -> dict[str, dict[str, str]]:
    """Read the text of `qstat -j` about several jobs: number -> key -> value."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^=+$", shown, flags=re.MULTILINE)[1:]:
        pairs = re.findall(r"^([a-z][a-z_ ]*):[ ]+(.*)$", block, re.MULTILINE)
        job = {key: value.strip() for key, value in pairs}
        found[job["job_number"]] = job
    return found


def as_switches(job: Mapping[str, str]) -> str:
    """Return what a job of `qstat -j` asks for, in qsub's switches."""
    words = []
    for key, switch in _SWITCHES.items():
        value = job.get(key, "").replace(" range: ", " ")
        if value and value != _UNASKED.get(key):
            words.append(f"{switch} {value}")
    return " ".join(words)


def render(rows: Iterable[Row]) -> str:
    """Return the documented part: for each site its file, and below it the table of its requests."""
    return "\n".join(_section(site, tuple(its)) for site, its in groupby(rows, key=lambda row: row.site))


def _section(site: str, rows: Iterable[Row]) -> str:
    title = f"``{site}.yaml``"
    lines = [title, "-" * len(title), ""]
    lines += [f".. literalinclude:: ../../tests/data/sites/{site}.yaml", "   :language: yaml", ""]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 35 65", ""]
    for typed, got in [HEADER, *((_typed(row), _got(row)) for row in rows)]:
        lines += [f"   * - {typed}", f"     - {got}"]
    return "\n".join(lines) + "\n"


def _typed(row: Row) -> str:
    return ", ".join(f"``{name}={value}``" for name, value in row.fields.items()) or "(nothing)"


def _got(row: Row) -> str:
    if row.got.startswith(REFUSED):
        return REFUSED + re.sub(r"([\\*`|_<>])", r"\\\1", row.got.removeprefix(REFUSED))
    return f"``{row.got}``"
