"""sgehub-as-user under the sudoers file that is shipped, from the hub's account, at a real Grid Engine."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab

PROGRAM = "/opt/sgehub/bin/sgehub-as-user"
SUDOERS = Path(__file__).parents[2] / "config/sudoers.d/sgehub"
CLUSTER = {"bin": "/usr/lib/gridengine", "environment": {"SGE_ROOT": "/opt/sge", "SGE_CELL": "lab"}}
SLEEP = "#!/bin/bash\nsleep 300\n"


def sudo(lab: Lab, words, request=None, *, user="jupyterhub", **environment):
    data = "" if request is None else json.dumps(request)
    return lab.run("head", ["sudo", "-n", *words], user=user, input=data, env=environment)


def ask(lab: Lab, request, *, person="alice", **environment):
    """Return the answer to a request, as the hub gets it."""
    run = sudo(lab, ["-H", "-u", person, PROGRAM], request, **environment)
    assert run.stderr == ""
    return json.loads(run.stdout)


def submission(*options: str, script: str = SLEEP, person: str = "alice", **fields):
    tag = secrets.token_hex(6)
    return {
        "verb": "submit",
        "deadline": 20,
        "cluster": CLUSTER,
        "folder": f"/home/{person}/.sgehub",
        "tag": tag,
        "options": ["-terse", "-S", "/bin/bash", "-N", f"sgehub-{tag}", *options],
        "script": script,
        "launch": {"token": "s3cret"},
    } | fields


@pytest.fixture
def jobs(lab: Lab):
    """Take all jobs away afterwards."""
    yield
    until = time.monotonic() + 30
    while lab.run("head", ["qstat", "-u", "*"]).stdout:
        assert time.monotonic() < until
        lab.run("head", ["qdel", "-u", "*"])
        time.sleep(0.2)


def test_the_sudoers_file_is_accepted(lab: Lab):
    """By visudo, alone and as the lab's hosts have it."""
    text = SUDOERS.read_text()
    assert lab.run("head", ["visudo", "-c", "-f", "-"], input=text).returncode == 0
    assert lab.run("head", ["cat", "/etc/sudoers.d/sgehub"]).stdout == text
    assert lab.run("head", ["visudo", "-c"]).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["-u", "root", PROGRAM],
        ["-u", "#0", PROGRAM],
        ["-u", "sgeadmin", PROGRAM],
        ["-u", "nobody", PROGRAM],
        ["-u", "alice", PROGRAM, "argument"],
        ["-u", "alice", PROGRAM, ""],
        ["-u", "alice", "/usr/bin/qsub"],
        ["-u", "alice", "/usr/bin/python3", PROGRAM],
        ["-u", "alice", "-s"],
        ["-u", "alice", "-E", PROGRAM],
        ["-u", "alice", "SGE_ROOT=/tmp", PROGRAM],
        ["-u", "alice", "-g", "root", PROGRAM],
    ],
)
def test_the_hub_may_run_nothing_else_and_as_nobody_else(lab: Lab, words):
    """Neither root, nor accounts outside the group, nor arguments, other commands, variables or groups."""
    run = sudo(lab, words, {"verb": "tail"})
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith(("sudo: ", "Sorry, user jupyterhub"))


def test_root_is_not_served_even_as_a_member(make_lab):
    """An administrator who adds root to the group gives nothing away."""
    lab = make_lab()
    lab.up(lambda *_: None)
    assert lab.run(
        "head", ["sh", "-c", "sed -i 's/^\\(sgehub:.*\\)$/\\1,root/' /etc/group; id -nG root"]
    ).stdout.split() == [
        "root",
        "sgehub",
    ]
    assert sudo(lab, ["-u", "root", PROGRAM], {}).returncode == 1
    assert sudo(lab, ["-u", "alice", PROGRAM], {}).returncode == 3


def test_only_the_hub_may(lab: Lab):
    """A person may not use the rule for another person."""
    assert sudo(lab, ["-u", "bob", PROGRAM], {}, user="alice").returncode == 1


@pytest.mark.usefixtures("jobs")
def test_a_job_is_submitted_as_the_person(lab: Lab):
    """Owner, files and modes are hers; the variables of the hub's own environment change nothing."""
    request = submission()
    leak = {"SGE_ROOT": "/nowhere", "SGE_QMASTER_PORT": "1", "SGE_DEBUG_LEVEL": "2 0 0 0 0 0 0 0"}
    answer = ask(lab, request, **leak)
    assert (answer["exit"], answer["stderr"], answer["timeout"]) == (0, "", False)
    number = int(answer["stdout"])
    listing = lab.run("head", ["qstat", "-u", "alice"], user="bob").stdout
    assert str(number) in listing
    detail = lab.run("head", ["qstat", "-j", str(number)], user="bob").stdout
    assert "owner:                      alice" in detail
    assert "sge_o_home:                 /home/alice\n" in detail
    assert "s3cret" not in detail
    files = lab.run("head", ["find", request["folder"], "-printf", "%y %m %u %f\n"]).stdout.splitlines()
    for name in ("d 700 alice .sgehub", "d 700 alice run", f"f 600 alice {request['tag']}.json"):
        assert name in files
    assert f"f 600 alice {request['tag']}.log" in files
    assert ask(lab, {"verb": "cancel", "deadline": 10, "cluster": CLUSTER, "job": number})["exit"] == 0
    other = {"verb": "cancel", "deadline": 10, "cluster": CLUSTER, "job": number}
    assert ask(lab, other, person="bob")["exit"] != 0


@pytest.mark.usefixtures("jobs")
def test_nobodys_defaults_get_in_between(lab: Lab):
    """~/.sge_request is forgotten, no directive runs a program here; the site's defaults and the script's hold."""
    home = lab.root / "home/alice"
    (home / "jsv").write_text("#!/bin/sh\ntouch /home/alice/has-run\n")
    (home / "jsv").chmod(0o755)
    (home / ".sge_request").write_text("-t 1-3 -V -N mine\n-jsv /home/alice/jsv\n")
    (home / ".sge_qstat").write_text("-g c\n")
    site = lab.root / "sge/lab/common/sge_request"
    before = site.read_text() if site.exists() else None
    try:
        site.write_text("-ac from=site\n")
        begin = time.monotonic()
        answer = ask(lab, submission("-h", script="#!/bin/bash\n#$ -ac by=script -N other\nsleep 1\n"))
        assert answer["exit"] == 0, answer
        assert time.monotonic() - begin < 5
        number = answer["stdout"].split()[-1]  # after a warning that -N is there twice
        detail = lab.run("head", ["qstat", "-j", number]).stdout
        assert "by=script" in detail
        assert "from=site" in detail
        assert "job_name:                   sgehub-" in detail
        assert "job-array" not in detail
        for request in (submission("-jsv", "/home/alice/jsv"), submission(script="#$-jsv /home/alice/jsv\n")):
            assert ask(lab, request)["refused"]["why"] == "bad-request"
        assert not (home / "has-run").exists()
    finally:
        for name in (".sge_request", ".sge_qstat", "jsv"):
            (home / name).unlink()
        site.unlink() if before is None else site.write_text(before)


def test_a_qsub_that_would_wait_is_refused(lab: Lab):
    """-sync y of ~/.sge_request is what qsub cannot be made to forget; the person is told to remove it."""
    (lab.root / "home/alice/.sge_request").write_text("-sync y\n")
    try:
        refused = ask(lab, submission("-h"))["refused"]
    finally:
        (lab.root / "home/alice/.sge_request").unlink()
    assert refused["why"] == "folder-unsafe"
    assert "/home/alice/.sge_request has the option -sync y" in refused["message"]
    assert lab.run("head", ["qstat", "-u", "*"]).stdout == ""


def test_verify_says_when_without_submitting(lab: Lab):
    """Mode v: could it ever run; the answer is qsub's own."""
    request = {
        "verb": "verify",
        "deadline": 20,
        "cluster": CLUSTER,
        "options": ["-l", "h_vmem=1G"],
        "script": SLEEP,
        "mode": "v",
    }
    answer = ask(lab, request)
    assert (answer["exit"], "found suitable queue" in answer["stdout"]) == (0, True)
    answer = ask(lab, {**request, "options": ["-l", "h_vmem=900G"]})
    assert answer["exit"] == 1
    assert "h_vmem" in answer["stdout"] + answer["stderr"]
    assert lab.run("head", ["qstat", "-u", "*"]).stdout == ""


def test_qsubs_refusal_leaves_no_file(lab: Lab):
    """What qsub says reaches the hub."""
    request = submission("-q", "no.such.q")
    answer = ask(lab, request)
    assert (answer["exit"], answer["timeout"]) == (1, False)
    assert "no.such.q" in answer["stderr"]
    assert not list((lab.root / "home/alice/.sgehub").rglob(request["tag"] + "*"))


def test_a_qsub_of_the_hubs_own_is_not_run(lab: Lab):
    """Neither a program of the hub's account, nor a cell that it made."""
    lab.run("head", ["sh", "-c", "mkdir -p ~/ge/lab/common && cp /bin/true ~/ge/qsub"], user="jupyterhub")
    mine = lab.run("head", ["sh", "-c", "echo ~/ge"], user="jupyterhub").stdout.strip()
    for cluster in ({**CLUSTER, "bin": mine}, {**CLUSTER, "environment": {"SGE_ROOT": mine, "SGE_CELL": "lab"}}):
        assert ask(lab, submission(cluster=cluster))["refused"]["why"] == "command-unsafe"


def test_a_hanging_qmaster_costs_the_deadline(lab: Lab):
    """The answer says that it is not known; a KILL of sudo changes nothing about qsub's end."""
    qmaster = lab.run("head", ["pgrep", "-x", "sge_qmaster"]).stdout.strip()
    lab.run("head", ["kill", "-STOP", qmaster])
    try:
        request = submission(deadline=2)
        answer = ask(lab, request)
        assert (answer["exit"], answer["timeout"]) == (None, True)
        assert list((lab.root / "home/alice/.sgehub/run").glob(request["tag"] + "*"))
        line = (
            f"sudo -n -H -u alice {PROGRAM} < /srv/jupyterhub/request > /dev/null 2>&1 & sleep 1; kill -9 $!; wait"
        )
        lab.run(
            "head",
            ["sh", "-c", "cat > /srv/jupyterhub/request"],
            user="jupyterhub",
            input=json.dumps(submission(deadline=3)),
        )
        lab.run("head", ["sh", "-c", line], user="jupyterhub")
        assert lab.run("head", ["pgrep", "-x", "qsub"]).stdout != ""
        time.sleep(4)
        assert lab.run("head", ["pgrep", "-x", "qsub"]).stdout == ""
        assert lab.run("head", ["pgrep", "-f", PROGRAM]).stdout == ""
    finally:
        lab.run("head", ["kill", "-CONT", qmaster])
        lab.run("head", ["qdel", "-u", "*"])
