"""Installed as ``sgehub.templates``: job scripts and the hub's pages. A site's folder is searched first."""
