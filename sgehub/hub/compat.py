"""What a configuration written for batchspawner means here.

`req_*` become defaults of a request; a `batch_script` is honoured with fixed variables; the commands and the
prefix that batchspawner runs in a shell are refused, with what replaces them. One table, which the
documentation repeats and a test compares.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from batchspawner import GridengineSpawner

from sgehub.errors import SiteConfigurationError
from sgehub.hub.record import SessionRecord
from sgehub.model.jobspec import JobSpec

REPLACED: Final = {
    "exec_prefix": "sgehub-as-user under sudo: see helper in site.yaml and the file for /etc/sudoers.d",
    "batch_submit_cmd": "cluster.commands in site.yaml: sgehub calls qsub itself",
    "batch_query_cmd": "cluster.commands in site.yaml: sgehub asks qstat once for everybody",
    "batch_cancel_cmd": "cluster.commands in site.yaml: sgehub calls qdel itself",
    "req_host": "queues in site.yaml",
    "req_partition": "queues in site.yaml",
    "batchspawner_singleuser_cmd": "sgehub-session, which starts the server that c.Spawner.cmd names",
}
DEFAULTS: Final = {  # batchspawner's trait -> the request's field
    "req_nprocs": "cores",
    "req_memory": "memory",
    "req_ngpus": "gpus",
    "req_runtime": "runtime",
    "req_queue": "queue",
}
SECTIONS: Final = ("Spawner", "BatchSpawnerBase", "GridengineSpawner", "SGESpawner")
STOCK_SCRIPT: Final = str(GridengineSpawner.batch_script.default_value)


def refuse_replaced_config(config: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse, at the hub's start, settings that would be ignored. Raises SiteConfigurationError with all."""
    found = [
        f"c.{section}.{trait} has no effect with sgehub. Remove it; its place is taken by {REPLACED[trait]}."
        for section in SECTIONS
        for trait in REPLACED
        if section in config and trait in config[section]
    ]
    if found:
        raise SiteConfigurationError("\n".join(found))


def refuse_internal_ssl(config: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse internal_ssl: its certificates do not travel to execution hosts yet, and half of it is worse."""
    if config.get("JupyterHub", {}).get("internal_ssl"):
        raise SiteConfigurationError(
            "c.JupyterHub.internal_ssl is not supported by sgehub yet: between hub and execution hosts traffic is "
            "plain HTTP. Remove the setting, and keep that network closed to others (see the security page)."
        )


def refuse(config: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse whatever would be ignored or unsafe, all of it. Raises SiteConfigurationError."""
    refuse_internal_ssl(config)
    refuse_replaced_config(config)


def request_defaults(spawner: Any) -> dict[str, str]:
    """Return the request's fields that the administrator set by `req_*` traits."""
    return {field: value for trait, field in DEFAULTS.items() if (value := getattr(spawner, trait))}


def extra_options(spawner: Any) -> tuple[str, ...]:
    """Return qsub options from `req_options` and `req_account`: the administrator's, before the decisive ones."""
    try:
        options = tuple(shlex.split(spawner.req_options))
    except ValueError as error:
        raise SiteConfigurationError(f"req_options: {error}: {spawner.req_options!r}") from None
    return ((*options, "-A", spawner.req_account)) if spawner.req_account else options


def custom_script(spawner: Any) -> str | None:
    """Return the administrator's `batch_script`, or None for batchspawner's stock one, which we replace."""
    script = str(spawner.batch_script)
    return None if script == STOCK_SCRIPT else script


def script_variables(spawner: Any, record: SessionRecord, spec: JobSpec, command: str) -> dict[str, str]:
    """Return the fixed variables of a `batch_script`: what batchspawner calls them, from the validated job."""
    resources = dict(spec.resources)
    policy = spawner.service.policy
    gpu = policy.gpu.complex if policy.gpu else ""
    return {
        "cmd": command,
        "username": record.person,
        "homedir": spec.home,
        "queue": spec.queue or "",
        "nprocs": str(spec.slots),
        "memory": resources[policy.memory[0].complex],
        "ngpus": resources.get(gpu, "0"),
        "runtime": resources["h_rt"],
        "account": str(spawner.req_account),
        "options": "",
        "prologue": str(spawner.req_prologue),
        "epilogue": str(spawner.req_epilogue),
        "keepvars": "",
        "host": "",
        "partition": "",
    }
