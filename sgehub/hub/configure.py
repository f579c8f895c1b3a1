"""Set what a hub on Grid Engine needs, so that ``jupyterhub_config.py`` stays short.

One small setter a subject; each states why JupyterHub's own default does not fit. What a site sets after the call
wins, but for settings that would be ignored or unsafe: those end the start with a sentence.
"""

from __future__ import annotations

import os
import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sgehub.errors import SiteConfigurationError
from sgehub.hub import compat, reload
from sgehub.siteconfig import load_site

TOKEN_NAME: Final = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - the variable's name, as configurable-http-proxy reads it


def configure(c: Any, *, site: str = "/etc/sgehub/site.yaml", state: str = "/srv/jupyterhub", hub: str) -> None:
    """Configure JupyterHub for the cluster that `site` describes.

    `c` is JupyterHub's config object; `state` is the hub's own folder (0700), for its database, cookie secret
    and proxy token; `hub` is the name or address by which execution hosts reach the hub. Call it last. Raises
    SiteConfigurationError, which ends the hub's start with its sentence.
    """
    policy = load_site(Path(site))
    compat.refuse(c)
    reload.survive()
    update_spawner(c, site)
    update_restart(c)
    update_files(c, Path(state))
    update_network(c, hub)
    update_proxy(c, Path(state))
    update_templates(c, [Path(folder) for folder in policy.template_folders])


def update_spawner(c: Any, site: str) -> None:
    """Make every server a Grid Engine job."""
    c.JupyterHub.spawner_class = "sge"
    c.SGESpawner.site = site


def update_restart(c: Any) -> None:
    """Let sessions outlive the hub: by default an orderly stop of the hub stops them all."""
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.concurrent_spawn_limit = 0  # people who wait in the queue are no load for the hub
    # The check of a queued session ends when its job runs; the hub must not wait for that before it listens, since
    # nobody reaches it before. One second is the least that JupyterHub takes.
    c.JupyterHub.init_spawners_timeout = 1


def update_files(c: Any, state: Path) -> None:
    """Keep what must survive in one folder that only the hub can read."""
    c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
    c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")


def update_network(c: Any, hub: str) -> None:
    """Bind the hub's API where execution hosts reach it."""
    c.JupyterHub.hub_bind_url = f"http://{hub}:8081"


def update_proxy(c: Any, state: Path) -> None:
    """Use a proxy that runs on its own, so that sessions stay reachable while the hub restarts.

    Its routes are kept true by KeptProxy, unless the site has chosen another class.
    """
    if "proxy_class" not in c.JupyterHub:
        c.JupyterHub.proxy_class = "sgehub"
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
    c.ConfigurableHTTPProxy.auth_token = proxy_token(state)


def update_templates(c: Any, folders: list[Path]) -> None:
    """Show our pages; a site's own come first."""
    ours = str(files("sgehub.templates") / "hub")
    c.JupyterHub.template_paths = [*(str(folder / "hub") for folder in folders), ours]


def proxy_token(state: Path) -> str:
    """Return the secret that hub and proxy share, made on first use.

    It stands as ``CONFIGPROXY_AUTH_TOKEN=…`` in `state`/proxy.env, which systemd's EnvironmentFile reads too.
    """
    path = state / "proxy.env"
    try:
        return path.read_text(encoding="ascii").strip().removeprefix(f"{TOKEN_NAME}=")
    except FileNotFoundError:
        token = secrets.token_hex(32)
    except OSError as error:
        raise SiteConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{TOKEN_NAME}={token}\n")
    except OSError as error:
        raise SiteConfigurationError(f"{path}: cannot be written: {error.strerror}.") from None
    return token
