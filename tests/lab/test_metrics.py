"""Metrics where Prometheus reads them: on JupyterHub's own page, of a hub that has had a session."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.lab.person import Person

if TYPE_CHECKING:
    from tests.lab.conftest import MakeHub

SITE = "/etc/sgehub/site.yaml"
CONFIG = """
c.JupyterHub.services = [{{"name": "prometheus", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "prometheus", "scopes": ["read:metrics"], "services": ["prometheus"]}}]
"""


def test_ours_stand_beside_jupyterhubs(make_hub: MakeHub) -> None:
    """One session and its end are seen in every family that they concern; names of people in none."""
    token = secrets.token_hex(16)
    with make_hub(config=CONFIG.format(token=token)) as site:
        alice = site.person("alice")

        def read() -> dict[str, dict[tuple[str, ...], float]]:
            page = Person(site.url, "prometheus").open("/hub/metrics", Authorization=f"Bearer {token}")
            assert page.status == 200, page.text
            found: dict[str, dict[tuple[str, ...], float]] = {}
            for family in text_string_to_metric_families(page.text):
                for sample in family.samples:
                    if family.name.startswith("sgehub_"):
                        assert sample.labels.pop("site") == SITE
                        assert "alice" not in sample.labels.values()
                    labels = tuple(sample.labels[label] for label in sorted(sample.labels))
                    found.setdefault(sample.name, {})[labels] = sample.value
            assert "jupyterhub_total_users" in found
            return found

        alice.start({"queue": "short.q"})
        alice.wait_until(ready=True)
        running = read()
        assert running["sgehub_starts_total"]["ready",] == 1
        assert running["sgehub_qstat_total"]["yes",] >= 1
        assert running["sgehub_qstat_duration_seconds_count"][()] >= 1
        assert running["sgehub_job_table_age_seconds"][()] < 60
        assert [place for place, number in running["sgehub_sessions"].items() if number] == [
            ("running", "short.q")
        ]
        assert sum(running["sgehub_queue_wait_seconds_count"].values()) == 1
        alice.stop()
        site.wait_for_jobs(0)
        alice.wait_until(ready=False)
        ended = read()
        assert ended["sgehub_session_ends_total"]["stopped",] == 1
        assert sum(ended["sgehub_sessions"].values()) == 0
        assert ended["sgehub_orphan_jobs"][()] == 0
        assert ended["sgehub_unconfirmed_deletions"][()] == 0
