"""From a site's words to the client of its cluster. Knows neither requests nor sessions."""

from __future__ import annotations

from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.runner import Runner
from sgehub.hub.numbers import HELPER_DEADLINE
from sgehub.model.policy import SitePolicy


def engine_settings(policy: SitePolicy) -> ClusterSettings:
    """Translate the site's words into the client's."""
    cluster = policy.cluster
    return ClusterSettings(
        root=cluster.root,
        cell=cluster.cell,
        bin=cluster.commands,
        qmaster_port=cluster.qmaster_port,
        execd_port=cluster.execd_port,
        arch=cluster.arch,
        helper=tuple(policy.helper),
    )


def cluster_of(policy: SitePolicy) -> GridEngine:
    """Return the site's cluster for a command that runs beside the hub."""
    return GridEngine(engine_settings(policy), Runner(), acting=Runner(8), deadline=HELPER_DEADLINE)
