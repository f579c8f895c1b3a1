"""An oracle of requests: from a site's raw description and a person's words to qsub's arguments, or to no job.

It shares no code with sgehub: it knows Grid Engine's notations, the site's file as it is written, and qsub(1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from tests.unit.model.site import BASE

Raw = Mapping[str, Any]
UNITS = {
    "": 1,
    "k": 1000,
    "K": 1024,
    "m": 1000**2,
    "M": 1024**2,
    "g": 1000**3,
    "G": 1024**3,
    "t": 10**12,
    "T": 2**40,
}
NAMES = ("queue", "gpu_type", "project", "pe", "environment", "interface")  # chosen by name, or not at all
EMPTY = (None, "")

ALL_QUEUES = BASE["queues"]
GPU_TYPES = {"a100": {"adds": {"gpu_a100": "TRUE", "gmem": "40G"}}, "k80": {"adds": {"gpu_k80": "TRUE"}}}
FULL: dict[str, Any] = {
    "parallel_environment": ["smp", "threaded"],
    "gpu": {"complex": "gpu", "counted": "job", "types": GPU_TYPES},
    "queues": {**ALL_QUEUES, "gpu.q": {**ALL_QUEUES["gpu.q"], "gpu_types": ["a100"]}},
    "projects": {
        "astro": {"most": {"cores": 6, "memory": "8G"}},
        "genomics": {"queues": ["gpu.q"], "most": {"gpus": 1, "runtime": "05:00:00"}},
    },
    "environments": {
        "base": {"path": ["/opt/base/bin"]},
        "ml": {"modules": ["cuda/12.1"], "conda": "/opt/ml", "prologue": "echo ml", "epilogue": "echo bye"},
        "image": {"container": ["apptainer", "exec", "/lab.sif"], "default_url": "/tree"},
    },
    "interfaces": {"lab": {"url": "/lab"}, "tree": {"url": "/tree"}},
    "working_folders": ["{home}", "/scratch/{username}"],
    "mail": {"when": "be", "domains": ["lab.test"]},
    "advance_reservations": True,
    "reserve_from": 4,
    "fields": {
        "licence": {
            "label": "Licence",
            "type": "choice",
            "choices": {
                "matlab": {"adds": {"matlab": "1"}},
                "abaqus": {"adds": {"abaqus": "5"}, "options": ["-A", "teaching"]},
            },
        },
        "polite": {"label": "Polite", "type": "switch", "adds": {"soft": "TRUE"}, "options": ["-p", "-10"]},
        "disk": {"label": "Disk", "type": "number", "least": 1, "most": 100, "adds": {"tmpfs": "{value}G"}},
    },
    "presets": {
        "small": {"request": {"cores": 1, "memory": "1G", "mail": "small@lab.test"}},
        "gpu": {"request": {"gpus": 1, "queue": "gpu.q", "environment": "ml", "extra.licence": "matlab"}},
    },
}
SITES: dict[str, dict[str, Any]] = {
    "slot": {},
    "job": {"memory": {"complex": "m_mem_free", "counted": "job"}},
    "gpu slot": {"gpu": {"complex": "gpu", "counted": "slot"}},
    "limit and free": {
        "memory": [
            {"complex": "h_vmem", "counted": "slot", "headroom": "1.3"},
            {"complex": "mem_free", "counted": "host"},
        ]
    },
    "per core queue": {"parallel_environment": "smp-1", "memory": {"complex": "rmem", "counted": "slot"}},
    "one core": {"parallel_environment": [], "gpu": None, "queues": {"short.q": ALL_QUEUES["short.q"]}},
    "all": FULL,
    "resources decide": {
        **FULL,
        "name_queues": False,
        "memory": {"complex": "m_mem_free", "counted": "host"},
        "gpu": {**FULL["gpu"], "counted": "slot"},
    },
    "queue for a project": {
        **FULL,
        "queues": {**FULL["queues"], "gpu.q": {**FULL["queues"]["gpu.q"], "projects": ["astro", "genomics"]}},
        "name_queues": False,
        "presets": {"small": FULL["presets"]["small"]},  # the other one names no project
    },
    "locked": {
        **FULL,
        "presets": {"small": FULL["presets"]["small"]},  # the other one would contradict the lock
        "locked": {"queue": "long.q", "interface": "tree", "extra.polite": "yes"},
        "defaults": {**BASE["defaults"], "queue": "long.q", "interface": "tree", "extra.polite": "yes"},
    },
    "required": {
        **FULL,
        "project_required": True,
        "fields": {**FULL["fields"], "licence": {**FULL["fields"]["licence"], "required": True}},
        "defaults": {**BASE["defaults"], "project": "astro", "extra.licence": "abaqus", "extra.polite": "yes"},
        "presets": {},
    },
}


def described(name: str) -> dict[str, Any]:
    """Return a site of `SITES` as its file would say it."""
    return {key: value for key, value in {**BASE, **SITES[name]}.items() if value is not None}


def amount(text: str) -> int:
    """Read memory as sge_types(1) says, exactly."""
    digits = text.rstrip("kKmMgGtT")
    return ceil(Fraction(digits) * UNITS[text[len(digits) :]])


def seconds(text: str) -> int:
    """Read a time as sge_types(1) says."""
    parts = [int(part or 0) for part in str(text).split(":")]
    return parts[0] if len(parts) == 1 else parts[0] * 3600 + parts[1] * 60 + parts[2]


def effective(raw_site: Raw, words: Raw) -> dict[str, Any]:
    """Return every field that has a value: defaults, a preset, what is locked, then the words."""
    preset = words.get("preset") or None
    found = dict(raw_site["defaults"])
    found.update(raw_site.get("presets", {}).get(preset, {}).get("request", {}))
    found.update(raw_site.get("locked", {}))
    found.update({key: value for key, value in words.items() if key != "preset"})
    return {key: value for key, value in found.items() if value not in EMPTY}


def complexes(raw_site: Raw) -> list[Raw]:
    """Return the complexes of memory."""
    return raw_site["memory"] if isinstance(raw_site["memory"], list) else [raw_site["memory"]]


def environments(raw_site: Raw) -> list[str]:
    """Return the parallel environments."""
    found = raw_site["parallel_environment"]
    return [found] if isinstance(found, str) else list(found)


def granted(raw_site: Raw, wish: Raw) -> int:
    """Return the bytes that a session has in all: whole K, and equal shares where a complex counts per slot."""
    shares = int(wish["cores"]) if "slot" in [one["counted"] for one in complexes(raw_site)] else 1
    return ceil(Fraction(amount(wish["memory"]), shares * 1024)) * 1024 * shares


def within(raw_site: Raw, wish: Raw, most: Raw) -> bool:
    """Tell whether a wish is in the maxima of a queue or a project."""
    return (
        int(wish["cores"]) <= most.get("cores", 10**9)
        and granted(raw_site, wish) <= amount(most.get("memory", "9999T"))
        and int(wish["gpus"]) <= most.get("gpus", 10**9)
        and seconds(wish["runtime"]) <= seconds(most.get("runtime", "999999:0:0"))
        and not (int(wish["gpus"]) and wish.get("gpu_type", "a100") not in most.get("gpu_types", GPU_TYPES))
    )


def fitting(raw_site: Raw, wish: Raw) -> list[str]:
    """Return the queues that a wish may run in."""
    project = raw_site.get("projects", {}).get(wish.get("project"), {})
    return [
        name
        for name, most in raw_site["queues"].items()
        if wish.get("queue", name) == name
        and name in project.get("queues", [name])
        and wish.get("project") in most.get("projects", [wish.get("project")])
        and within(raw_site, wish, {"gpus": 0, **most})
    ]


def allowed(raw_site: Raw, words: Raw) -> bool:
    """Tell whether the site allows what was asked for, in words that can be read."""
    wish = effective(raw_site, words)
    known = {
        "queue": raw_site["queues"],
        "gpu_type": raw_site.get("gpu", {}).get("types", {}),
        "project": raw_site.get("projects", {}),
        "pe": environments(raw_site),
        "environment": raw_site.get("environments", {}),
        "interface": raw_site.get("interfaces", {}),
    }
    cores, gpus = int(wish["cores"]), int(wish["gpus"])
    project = raw_site.get("projects", {}).get(wish.get("project"), {})
    return (
        words.get("preset") in (*EMPTY, *raw_site.get("presets", {}))
        and all(name not in wish or wish[name] in known[name] for name in NAMES)
        and (cores == 1 or (cores > 1 and environments(raw_site) != []))
        and amount(wish["memory"]) >= 256 * 1024**2
        and seconds(wish["runtime"]) >= 60
        and (gpus == 0 or "gpu" in raw_site)
        and not (gpus and raw_site["gpu"]["counted"] == "slot" and gpus % cores)
        and ("project" in wish or not raw_site.get("project_required"))
        and within(raw_site, wish, project.get("most", {}))
        and fitting(raw_site, wish) != []
        and _extras_allowed(raw_site, wish)
        and _others_allowed(raw_site, wish)
        and all(_same(wish.get(name), value) for name, value in raw_site.get("locked", {}).items())
    )


def _same(one: object, other: object) -> bool:
    return ("" if one is None else str(one)) == ("" if other is None else str(other))


def _others_allowed(raw_site: Raw, wish: Raw) -> bool:
    folder, mail = wish.get("folder"), wish.get("mail")
    offered = raw_site.get("working_folders", [])
    return (
        (folder is None or bool(offered and re.fullmatch("(?!/)[^$]+|/scratch/[^/$][^$]*", folder)))
        and (mail is None or ("mail" in raw_site and mail.endswith("@lab.test")))
        and ("reservation" not in wish or raw_site.get("advance_reservations", False))
    )


def _extras_allowed(raw_site: Raw, wish: Raw) -> bool:
    fields = raw_site.get("fields", {})
    chosen = {key[6:]: value for key, value in wish.items() if key.startswith("extra.")}
    if any(one.get("required") and name not in chosen for name, one in fields.items()):
        return False
    return all(name in fields and _extra_allowed(fields[name], value) for name, value in chosen.items())


def _extra_allowed(field: Raw, value: str) -> bool:
    if field["type"] == "choice":
        return value in field["choices"]
    if field["type"] == "switch":
        return value == "yes"
    return value.isascii() and value.isdigit() and field["least"] <= int(value) <= field["most"]


def expected(raw_site: Raw, words: Raw, home: str, tag: str) -> list[str]:
    """Work qsub's arguments out from the words, Grid Engine's rules and the site's file alone."""
    wish = effective(raw_site, words)
    cores, gpus = int(wish["cores"]), int(wish["gpus"])
    wanted = [_memory(one, wish["memory"], cores) for one in complexes(raw_site)]
    total = seconds(wish["runtime"])
    wanted.append(f"h_rt={total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}")
    if gpus:
        wanted.append(f"gpu={gpus // cores if raw_site['gpu']['counted'] == 'slot' else gpus}")
        adds = raw_site["gpu"].get("types", {}).get(wish.get("gpu_type"), {}).get("adds", {})
        wanted += [f"{name}={value}" for name, value in adds.items()]
    switches: list[str] = []
    for key in sorted(key for key in wish if key.startswith("extra.")):
        field = raw_site["fields"][key[6:]]
        part = field["choices"][wish[key]] if field["type"] == "choice" else field
        number = str(int(wish[key])) if field["type"] == "number" else ""
        wanted += [f"{name}={value.replace('{value}', number)}" for name, value in part.get("adds", {}).items()]
        switches += part.get("options", [])
    queues = fitting(raw_site, wish) if raw_site.get("name_queues", True) else [wish.get("queue", "")]
    closed = any("projects" in queue for queue in raw_site["queues"].values())
    if closed or "queues" in raw_site.get("projects", {}).get(wish.get("project"), {}):
        queues = fitting(raw_site, wish)
    return [
        *switches,
        *("-terse", "-b", "n", "-now", "n", "-S", "/bin/bash", "-wd", home, "-j", "y"),
        *("-o", f"{home}/.sgehub/log/{tag}.log", "-N", f"sgehub-{tag}", "-r", "n", "-notify"),
        *("-l", ",".join(wanted)),
        *(["-pe", wish.get("pe", environments(raw_site)[0]), str(cores)] if cores > 1 else []),
        *(["-q", ",".join(queues)] if any(queues) else []),
        *(["-P", wish["project"]] if "project" in wish else []),
        *(["-m", raw_site["mail"]["when"], "-M", wish["mail"]] if "mail" in wish else []),
        *(["-ar", str(int(wish["reservation"]))] if "reservation" in wish else []),
        *(["-R", "y"] if cores >= raw_site.get("reserve_from", 10**9) else []),
    ]


def _memory(one: Raw, memory: str, cores: int) -> str:
    parts = cores if one["counted"] == "slot" else 1
    kib = ceil(ceil(amount(memory) * Fraction(one.get("headroom", "1"))) / Fraction(parts * 1024))
    unit = next(power for power in (3, 2, 1, 0) if kib % 1024**power == 0)
    return f"{one['complex']}={kib // 1024**unit}{'KMGT'[unit]}"
