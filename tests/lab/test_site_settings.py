"""What an administrator sets in site.yaml takes effect on the real cluster."""

from __future__ import annotations

import stat
from pathlib import Path

from sgehub.lab.cluster import Lab
from tests.lab.conftest import MakeHub, Site


def start(site: Site, name: str = "alice", server: str = "") -> None:
    """Start a session and wait until it is ready."""
    person = site.person(name)
    answer = person.start({"memory": "1G"}, server)
    assert answer.status in (201, 202), answer.text
    person.wait_until(ready=True, server=server)


def stop(site: Site, name: str = "alice") -> None:
    """Stop all of a person's sessions, at once."""
    site.lab.run("head", ["qdel", "-u", name])
    site.wait_for_jobs(0)


def test_hosts_are_called_by_their_routable_names(lab: Lab, make_hub: MakeHub):
    """Grid Engine's host names may be those of another network."""
    addresses = {name: lab.address(name) for name in lab.hosts if name != "head"}
    with make_hub(site={"hosts": addresses}) as site:
        start(site)
        assert any(f"listens on {address}:" in site.hub.log() for address in addresses.values())
        stop(site)


def test_ports_are_those_of_the_range(make_hub: MakeHub):
    """Firewalls open a range; two sessions on one host share it, a third finds none and says so."""
    queue = {"cores": 4, "memory": "4G", "gpus": 1, "runtime": "01:00:00"}
    with make_hub(
        config="c.JupyterHub.named_server_limit_per_user = 5",
        site={
            "session": {"ports": [25000, 25001]},
            "queues": {"gpu.q": queue},
            "defaults": {"queue": "gpu.q"},
            "presets": None,  # those of the sample want more than this queue has
        },
    ) as site:
        alice = site.person("alice")
        for server in ("", "second"):
            start(site, server=server)
        answer = alice.start({"memory": "1G"}, "third")
        said = answer.json["message"] if answer.status != 202 else alice.progress("third")[-1]["message"]
        assert "no port from 25000 to 25001 is free on this host" in said
        assert {"25000", "25001"} == {line.rsplit(":", 1)[1].strip(".") for line in listening(site)}
        stop(site)


def listening(site: Site) -> list[str]:
    """Return the lines of the hub's log that name a server's address."""
    return [line for line in site.hub.log().splitlines() if "listens on" in line]


def bare_environment(lab: Lab, install: Path) -> None:
    """Make an environment of the person's own, with JupyterHub and JupyterLab, and without sgehub."""
    root = lab.root / "home" / "env"
    lab.run("head", ["/usr/bin/python3", "-m", "venv", "--without-pip", "/home/env"])
    packages = next((install / "lib").glob("python3*")) / "site-packages"
    own = next((root / "lib").glob("python3*")) / "site-packages"
    for path in packages.iterdir():
        if not path.name.startswith(("sgehub", "batchspawner", "wrapspawner")):
            (own / path.name).symlink_to(path)
    script = (install / "bin" / "jupyterhub-singleuser").read_text()
    target = root / "bin" / "jupyterhub-singleuser"
    target.write_text("#!/home/env/bin/python\n" + script.split("\n", 1)[1])
    target.chmod(0o755)


def test_any_environment_with_jupyterhub_will_do(lab: Lab, install: Path, make_hub: MakeHub):
    """Ours need not be in it: the session program brings its own Python."""
    bare_environment(lab, install)
    for module, status in (("jupyterhub", 0), ("sgehub", 1)):
        assert (
            lab.run("node01", ["/home/env/bin/python", "-c", f"import {module}"], user="alice").returncode
            == status
        )
    with make_hub(site={"session": {"path": ["/home/env/bin"]}}) as site:
        start(site)
        assert "/home/env/" in site.job_log("alice") or servers(site, "/home/env/bin/python")
        stop(site)


def servers(site: Site, program: str) -> bool:
    """Tell whether a server of alice's runs from that program on some host."""
    return any(
        program in site.lab.run(host, ["ps", "-u", "alice", "-o", "args"]).stdout
        for host in site.lab.hosts
        if host != "head"
    )


def test_secrets_and_logs_are_where_the_site_says(lab: Lab, make_hub: MakeHub):
    """Another shared folder than the homes; private all the same, and old logs go."""
    scratch = lab.root / "home" / "scratch"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o1777)
    with make_hub(site={"session": {"secrets": "/home/scratch/{username}", "keep_logs": 2}}) as site:
        for _ in range(3):
            start(site)
            stop(site)
            site.person("alice").wait_until(ready=False)
    logs = list((scratch / "alice" / "log").iterdir())
    assert len(logs) == 2
    for path in (scratch / "alice", scratch / "alice" / "run", scratch / "alice" / "log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in logs)
    assert list((scratch / "alice" / "run").iterdir()) == []
