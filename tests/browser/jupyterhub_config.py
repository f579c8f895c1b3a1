"""The configuration of the hub that tests of the pages look at; HubProcess says where things are."""

import json
import os
from importlib.resources import files

from tests.browser.telling import TellingSpawner

where = json.loads(os.environ["SGEHUB_TEST_HUB"])

c = get_config()  # noqa: F821 - traitlets puts it there
c.JupyterHub.bind_url = f"http://127.0.0.1:{where['public']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{where['hub']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{where['proxy']}"
c.ConfigurableHTTPProxy.command = [where["command"]]
c.JupyterHub.db_url = f"sqlite:///{where['folder']}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{where['folder']}/cookie_secret"
c.JupyterHub.template_paths = [*where["templates"], str(files("sgehub.templates") / "hub")]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"root"}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.cleanup_servers = False
c.JupyterHub.spawner_class = TellingSpawner
c.SGESpawner.site = where["site"]
c.JupyterHub.load_roles = [
    {
        "name": "tests",
        "scopes": ["admin:users", "admin:servers", "access:servers", "read:metrics"],
        "services": ["tests"],
    }
]
c.JupyterHub.services = [{"name": "tests", "api_token": where["token"]}]
