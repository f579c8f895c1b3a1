"""How long a submission as a person takes: sudo, sgehub-as-user and the real qsub, from exec to answer."""

from __future__ import annotations

import json

from client import MeasurementError
from rig import PERSON, Rig

PROGRAM = "/opt/sgehub/bin/sgehub-as-user"
TIMES = 40
LIMIT = 0.080  # seconds
# Measured on the head itself, by one process of the hub's account, so that nothing else is counted.
MEASURE = f"""
import subprocess, sys, time
for line in sys.stdin:
    begun = time.perf_counter()
    subprocess.run(["sudo", "-n", "-H", "-u", "{PERSON}", "{PROGRAM}"], input=line.encode(), check=True,
                   stdout=subprocess.DEVNULL)
    print(time.perf_counter() - begun)
"""


def measure(rig: Rig) -> list[float]:
    """Submit held jobs one after the other; return the seconds of each."""
    requests = [json.dumps(_submission(rig, f"{number:012x}")) for number in range(TIMES)]
    done = rig.lab.run(
        "head", ["/usr/bin/python3", "-I", "-c", MEASURE], user="jupyterhub", input="\n".join(requests)
    )
    rig.lab.run("head", ["qdel", "-u", PERSON])
    times = [float(line) for line in done.stdout.split()]
    if len(times) != TIMES:
        raise MeasurementError(f"sgehub-as-user could not be measured: {done.stderr.strip()[-500:]}")
    return times


def _submission(rig: Rig, tag: str) -> dict[str, object]:
    cell = rig.lab.cell_environment
    names = ("SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_ARCH")
    return {
        "verb": "submit",
        "deadline": 30,
        "cluster": {
            "bin": "/usr/lib/gridengine",
            "environment": {name: cell[name] for name in names if name in cell},
        },
        "folder": f"/home/{PERSON}/.sgehub",
        "tag": tag,
        "options": ["-terse", "-h", "-N", f"sgehub-{tag}", "-o", "/dev/null", "-j", "y", "-S", "/bin/bash"],
        "script": "#!/bin/bash\ntrue\n",
        "launch": {},
    }
