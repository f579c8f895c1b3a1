"""JupyterHub on Grid Engine: a sample that the demonstration uses as it is."""

import ssl

from sgehub.hub.configure import configure

c = get_config()  # noqa: F821 - JupyterHub provides it

# Who may log in: the members of the directory's group "sgehub".
c.JupyterHub.authenticator_class = "ldap"
c.LDAPAuthenticator.server_address = "head"
c.LDAPAuthenticator.server_port = 636
c.LDAPAuthenticator.tls_strategy = "on_connect"
c.LDAPAuthenticator.tls_kwargs = {"ca_certs_file": "/etc/sgehub/ldap-ca.pem", "validate": ssl.CERT_REQUIRED}
c.LDAPAuthenticator.bind_dn_template = ["uid={username},ou=people,dc=lab,dc=test"]
c.LDAPAuthenticator.user_search_base = "ou=people,dc=lab,dc=test"
c.LDAPAuthenticator.user_attribute = "uid"
c.LDAPAuthenticator.allowed_groups = ["cn=sgehub,ou=groups,dc=lab,dc=test"]

c.JupyterHub.allow_named_servers = True

# Everything else: the site's file, the hub's own folder, and where execution hosts find the hub.
configure(c, site="/etc/sgehub/site.yaml", state="/srv/jupyterhub", hub="head")
