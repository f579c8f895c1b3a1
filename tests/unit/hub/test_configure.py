"""configure() sets what a hub on Grid Engine needs, and refuses what would be ignored or unsafe."""

from __future__ import annotations

import os
import signal
import stat
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from traitlets.config import Config

from sgehub.errors import SiteConfigurationError
from sgehub.hub.configure import configure, proxy_token
from sgehub.hub.proxy import KeptProxy

SITE = str(Path(__file__).parents[3] / "config" / "site.yaml")


@pytest.fixture(autouse=True)
def hangup():
    """Give SIGHUP back what it did before."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def configured(tmp_path, **hub):
    """Return a config after configure()."""
    c = Config()
    c.JupyterHub.update(hub)
    configure(c, site=SITE, state=str(tmp_path), hub="head")
    return c


def test_sessions_outlive_the_hub(tmp_path):
    """JupyterHub's own defaults stop every session when the hub stops, and the proxy with it."""
    c = configured(tmp_path)
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.JupyterHub.spawner_class == "sge"


def test_the_hub_listens_while_sessions_wait_in_the_queue(tmp_path):
    """Their checks end when their jobs run; by JupyterHub's default the hub listens to nobody for ten seconds."""
    assert configured(tmp_path).JupyterHub.init_spawners_timeout == 1


def test_the_proxys_routes_are_kept_unless_the_site_chooses_another_class(tmp_path):
    """Before the call or after it; the hub finds our class by its name."""
    assert configured(tmp_path).JupyterHub.proxy_class == "sgehub"
    assert configured(tmp_path, proxy_class="traefik").JupyterHub.proxy_class == "traefik"
    (point,) = entry_points(group="jupyterhub.proxies", name="sgehub")
    assert point.load() is KeptProxy


def test_waiting_people_do_not_make_the_hub_refuse_others(tmp_path):
    """The hub would count them as load."""
    assert configured(tmp_path).JupyterHub.concurrent_spawn_limit == 0


def test_the_proxys_secret_is_made_once_and_only_for_the_hub(tmp_path):
    """0600, and the same at the next start."""
    first = proxy_token(tmp_path)
    file = tmp_path / "proxy.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == f"CONFIGPROXY_AUTH_TOKEN={first}\n"
    assert proxy_token(tmp_path) == first == configured(tmp_path).ConfigurableHTTPProxy.auth_token


def test_sighup_does_not_end_a_hub_that_starts(tmp_path):
    """JupyterHub leaves that signal as it is; an administrator may send it at any time."""
    configured(tmp_path)
    os.kill(os.getpid(), signal.SIGHUP)  # ends this process where nobody cares for it


def test_internal_ssl_is_refused_with_a_sentence(tmp_path):
    """Half of it would be worse than none."""
    with pytest.raises(SiteConfigurationError, match=r"plain HTTP.*security page"):
        configured(tmp_path, internal_ssl=True)


def test_a_missing_state_folder_is_named(tmp_path):
    """At midnight, the path is what one needs."""
    with pytest.raises(SiteConfigurationError, match=r"no-such/proxy\.env: cannot be written"):
        configured(tmp_path / "no-such")
