"""Site policies that tests of the model share."""

from __future__ import annotations

from typing import Any

from sgehub.model.policy import SitePolicy

BASE: dict[str, Any] = {
    "cluster": {"root": "/sge", "cell": "default", "commands": "/sge/bin"},
    "memory": {"complex": "h_vmem", "counted": "slot"},
    "gpu": {"complex": "gpu", "counted": "job"},
    "parallel_environment": "smp",
    "queues": {
        "short.q": {"cores": 16, "memory": "64G", "runtime": "01:00:00"},
        "long.q": {"cores": 16, "memory": "64G", "runtime": "48:00:00"},
        "gpu.q": {"cores": 8, "memory": "64G", "gpus": 2, "runtime": "08:00:00"},
    },
    "defaults": {"cores": 1, "memory": "2G", "gpus": 0, "runtime": "01:00:00"},
}


def site(**changes: Any) -> SitePolicy:
    """Return the base site with some top-level keys replaced; None takes a key away."""
    raw = {**BASE, **changes}
    return SitePolicy.model_validate({key: value for key, value in raw.items() if value is not None})
