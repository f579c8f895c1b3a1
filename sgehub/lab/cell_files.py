"""The texts that describe the lab's cluster: queues, environments, complexes, projects, quotas.

Pure; the grammar of each is its man page's (queue_conf(5), sge_pe(5), complex(5), project(5), sge_conf(5)…).
"""

from __future__ import annotations

from collections.abc import Mapping

from sgehub.lab.layout import BINARIES, GPUS, SGE_CELL, SGE_ROOT, Layout

COMMON = f"{SGE_ROOT}/{SGE_CELL}/common"
SPOOL = f"{SGE_ROOT}/{SGE_CELL}/spool"
SCRIPTS = f"{SGE_ROOT}/scripts"
MESSAGES = "/var/spool/gridengine/execd"
ADMIN = "sgeadmin"
HOST_MEMORY = "64G"
SLOTS = 16

# What differs from _QUEUE. Two shells, because real sites have both; gpu.q is on the last host alone.
QUEUES: Mapping[str, Mapping[str, str]] = {
    "short.q": {"h_rt": "1:00:00", "shell": "/bin/sh"},
    "long.q": {"h_rt": "48:00:00", "shell": "/bin/csh", "seq_no": "10"},
    "gpu.q": {"h_rt": "8:00:00", "shell": "/bin/sh", "seq_no": "20"},
}
_QUEUE = {
    "seq_no": "0",
    "load_thresholds": "NONE",
    "suspend_thresholds": "NONE",
    "nsuspend": "1",
    "suspend_interval": "00:05:00",
    "priority": "0",
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH INTERACTIVE",
    "ckpt_list": "NONE",
    "pe_list": "smp mpi",
    "rerun": "FALSE",
    "slots": str(SLOTS),
    "tmpdir": "/tmp",  # noqa: S108 - Grid Engine makes each job a folder of its own below it
    "prolog": "NONE",
    "epilog": "NONE",
    "shell_start_mode": "posix_compliant",
    "starter_method": "NONE",
    "suspend_method": "NONE",
    "resume_method": "NONE",
    "terminate_method": "NONE",
    "notify": "00:00:10",
    "owner_list": "NONE",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "subordinate_list": "NONE",
    "complex_values": "NONE",
    "projects": "NONE",
    "xprojects": "NONE",
    "calendar": "NONE",
    "initial_state": "default",
}
_LIMITS = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
_PE = {
    "slots": "999",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "start_proc_args": "NONE",
    "stop_proc_args": "NONE",
    "control_slaves": "TRUE",
    "job_is_first_task": "TRUE",
    "urgency_slots": "min",
    "accounting_summary": "FALSE",
    "qsort_args": "NONE",
}
_COMPLEX = {"relop": "<=", "requestable": "YES", "urgency": "0"}
PROJECTS = ("astro", "genomics")

# sge_conf(5). Accounting at once and short load reports: tests should not wait for what real sites wait for.
CONFIGURATION = {
    "execd_spool_dir": MESSAGES,
    "mailer": "/bin/true",
    "prolog": f"root@{SCRIPTS}/gpu-prolog",
    "epilog": f"root@{SCRIPTS}/gpu-epilog",
    "load_report_time": "00:00:05",
    "max_unheard": "00:00:20",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:15 accounting_flush_time=00:00:00 "
    "joblog=false sharelog=00:00:00",
}
# The qmaster talks to no execution daemon and pretends that jobs run, as long as their first argument says.
SIMULATION = {"qmaster_params": "SIMULATE_EXECDS=TRUE"}
# See sched_conf(5): a person of the lab waits two seconds, not fifteen.
SCHEDULER = {
    "schedule_interval": "0:0:2",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "schedd_job_info": "true",
}
# As on a large site: a reason for each waiting job and queue instance would cost more than all scheduling.
SIMULATED_SCHEDULER = {**SCHEDULER, "schedd_job_info": "false", "schedule_interval": "0:0:15"}
# Measured: with any quota that concerns a host, 8.1.9 may leave a job of a PE that asks for this host by
# `-l h=HOST` pending for ever; `-q '*@HOST'` asks for the same and runs.
QUOTAS = """{
   name         slots_per_user
   description  "one person's slots on all hosts"
   enabled      TRUE
   limit        users {*} to slots=32
}
{
   name         gpus_per_user
   description  "one person's GPUs on all hosts"
   enabled      TRUE
   limit        users {*} hosts @gpu to gpu=2
}
"""


def lines(fields: Mapping[str, str]) -> str:
    """Return `key value` lines, the form of all of Grid Engine's files."""
    return "".join(f"{key} {value}\n" for key, value in fields.items())


def changed(text: str, new: Mapping[str, str]) -> str:
    """Return `key value` lines with some values replaced; every key must be there already."""
    left = dict(new)
    rows = []
    for row in text.splitlines():
        key = row.split(None, 1)[0] if row.strip() else ""
        rows.append(f"{key} {left.pop(key)}" if key in left else row)
    if left:
        raise KeyError(f"no such key: {', '.join(left)}")
    return "\n".join(rows) + "\n"


def bootstrap() -> str:
    """Return the cell's bootstrap file (see its man page): classic spooling, plain files, is quick to make."""
    return lines(
        {
            "admin_user": ADMIN,
            "default_domain": "none",
            "ignore_fqdn": "true",
            "spooling_method": "classic",
            "spooling_lib": "libspoolc",
            "spooling_params": f"{COMMON};{SPOOL}",
            "binary_path": BINARIES,
            "qmaster_spool_dir": SPOOL,
            "security_mode": "none",
            "listener_threads": "2",
            "worker_threads": "2",
            "scheduler_threads": "1",
        }
    )


def environment(arch: str) -> dict[str, str]:
    """Return the variables Grid Engine's programs want, sge_intro(1)."""
    return {
        "SGE_ROOT": SGE_ROOT,
        "SGE_CELL": SGE_CELL,
        "SGE_QMASTER_PORT": "6444",
        "SGE_EXECD_PORT": "6445",
        "SGE_ARCH": arch,
    }


def parallel_environments() -> dict[str, str]:
    """Return sge_pe(5) texts by name: all slots on one host, and spread."""
    rules = {"smp": "$pe_slots", "mpi": "$fill_up"}
    return {name: lines({"pe_name": name, **_PE, "allocation_rule": rule}) for name, rule in rules.items()}


def complexes() -> dict[str, str]:
    """Return complex(5) texts by name: memory counts per slot, GPUs once a job."""
    kinds = {
        "h_vmem": {"type": "MEMORY", "consumable": "YES", "default": "2G"},
        "gpu": {"type": "INT", "consumable": "JOB", "default": "0"},
    }
    return {name: lines({"name": name, "shortcut": name, **_COMPLEX, **kind}) for name, kind in kinds.items()}


def usersets(layout: Layout) -> dict[str, str]:
    """Return access_list(5) texts by name: the people of each project."""
    return {
        name: lines(
            {
                "name": name,
                "type": "ACL",
                "oticket": "0",
                "fshare": "0",
                "entries": ",".join(layout.members(name)) or "NONE",
            }
        )
        for name in PROJECTS
    }


def projects() -> dict[str, str]:
    """Return project(5) texts by name, each for the people of its access list."""
    return {
        name: lines({"name": name, "oticket": "0", "fshare": "0", "acl": name, "xacl": "NONE"})
        for name in PROJECTS
    }


def host_entries(layout: Layout) -> dict[str, str]:
    """Return admin and submit host texts by name, host_conf(5): every host may do both."""
    return {host: lines({"hostname": host}) for host in layout.hosts}


def host_groups(layout: Layout) -> dict[str, str]:
    """Return hostgroup(5) texts by name: all execution hosts, and those with GPUs."""
    groups = {"@nodes": layout.node_names, "@gpu": layout.node_names[-1:]}
    return {name: lines({"group_name": name, "hostlist": " ".join(hosts)}) for name, hosts in groups.items()}


def offers(layout: Layout) -> dict[str, tuple[str, ...]]:
    """Return which hosts have which complex_values, host_conf(5)."""
    last = layout.node_names[-1:]
    hosts = {0: layout.node_names[:-1], GPUS: last}
    return {f"h_vmem={HOST_MEMORY},gpu={gpus}": names for gpus, names in hosts.items() if names}


def queues() -> dict[str, str]:
    """Return queue_conf(5) texts by name."""
    places = {"gpu.q": "@gpu"}
    endless = {f"{kind}_{limit}": "INFINITY" for limit in _LIMITS for kind in ("s", "h")}
    return {
        name: lines({"qname": name, "hostlist": places.get(name, "@nodes"), **_QUEUE, **endless, **own})
        for name, own in QUEUES.items()
    }
