"""What no spawner can do without: qsub by itself, and jupyterhub-singleuser by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass

from client import MeasurementError
from rig import COMMANDS, FOLDER, NODE, PERSON, STUB_PORT, Rig

from sgehub.lab.hub import BIN
from sgehub.lab.layout import HEAD

_PORT = 19999
_SINGLEUSER = f"{BIN}/jupyterhub-singleuser"
# -h: held, so that it never runs and disturbs.
_QSUB = f'echo "$EPOCHREALTIME"; echo true | {COMMANDS}/qsub -clear -terse -h -S /bin/bash -N floor -o /dev/null'


@dataclass(frozen=True)
class Floor:
    """The environment of a real session, turned towards the stub hub."""

    environment: dict[str, str]
    path: str

    @classmethod
    def of_running_session(cls, rig: Rig) -> Floor:
        """Take the environment from the server that runs now."""
        found = rig.lab.run(NODE, ["pgrep", "--newest", "--euid", PERSON, "--full", _SINGLEUSER]).stdout.strip()
        said = rig.lab.run(NODE, ["cat", f"/proc/{found}/environ"]).stdout
        environment = dict(pair.split("=", 1) for pair in said.split("\0") if "=" in pair)
        prefix = environment["JUPYTERHUB_SERVICE_PREFIX"]
        stub = f"http://{HEAD}:{STUB_PORT}/hub/api"
        environment |= {
            "JUPYTERHUB_API_URL": stub,
            "JUPYTERHUB_ACTIVITY_URL": f"{stub}/users/{PERSON}/activity",
            "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{_PORT}{prefix}",
        }
        return cls(environment, f"{prefix}api")

    def measure(self, rig: Rig) -> tuple[float, float]:
        """Return the seconds of qsub, and from the start of the server to its first answer."""
        rig.clear_marks()
        said = rig.lab.run(HEAD, ["/bin/bash", "-c", _QSUB], user=PERSON).stdout.split()
        qsub = rig.submitted() - float(said[0])
        rig.lab.run(HEAD, [f"{COMMANDS}/qdel", said[-1]], user=PERSON)
        rig.wait_for_no_jobs()
        order = {
            "command": [_SINGLEUSER],
            "environment": self.environment,
            "port": _PORT,
            "path": self.path,
        }
        done = rig.lab.run(
            NODE, [f"{BIN}/python", "-I", "-S", f"{FOLDER}/probe.py"], user=PERSON, input=json.dumps(order)
        )
        if done.returncode:
            raise MeasurementError(done.stderr)
        return qsub, float(done.stdout)
