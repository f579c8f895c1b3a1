"""sgehub-as-user as a process: what it runs, with which environment, and when it ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from sgehub import asuser
from sgehub.errors import NoAnswerError, SubmissionRefusedError
from sgehub.gridengine.answers import TRANSPORT
from sgehub.gridengine.parse_qsub import parse_submission
from sgehub.gridengine.runner import Completed

from . import asuser_sandbox
from .asuser_sandbox import ALICE, TAG, gone
from .gridengine.captured import everything


@pytest.fixture
def sandbox():
    with asuser_sandbox.sandbox() as box:
        yield box


def test_a_submission_writes_both_files_and_asks_qsub(sandbox):
    """Secrets: 0600 in 0700 folders of the person; qsub gets options as they are and the script on stdin."""
    options = ["-terse", "-l", "h_vmem=1G", "$(touch /tmp/x)", "J\u00f6rg `id`"]
    status, answer = sandbox.run(sandbox.request(options=options, script="#!/bin/sh\n# \u00fc\n" + "x" * 300_000))
    assert (status, answer["exit"], answer["timeout"], answer["stderr"]) == (0, 0, False, "")
    seen = json.loads(answer["stdout"])
    assert seen["argv"][1:] == ["-clear", *options]
    assert seen["stdin"] == "#!/bin/sh\n# \u00fc\n" + "x" * 300_000
    assert (seen["uid"], seen["cwd"], seen["umask"]) == (ALICE, "/", 0o077)
    launch, log = sandbox.folder / "run" / f"{TAG}.json", sandbox.folder / "log" / f"{TAG}.log"
    assert json.loads(launch.read_text()) == {"token": "s3cret"}
    assert log.read_bytes() == b""
    for path, mode in ((launch, 0o600), (log, 0o600), (launch.parent, 0o700), (log.parent, 0o700)):
        assert (path.stat().st_mode & 0o7777, path.stat().st_uid) == (mode, ALICE)
    assert sandbox.folder.stat().st_mode & 0o7777 == 0o700


def test_the_environment_is_made_anew(sandbox):
    """Nothing of the caller's environment reaches qsub: neither secrets nor another cluster."""
    _, answer = sandbox.run(sandbox.request(), SGE_ROOT="/evil", SGE_CELL="evil", HOME="/evil", PYTHONPATH="/evil")
    environment = json.loads(answer["stdout"])["environment"]
    environment.pop("LC_CTYPE", None)  # the stub's own Python sets it
    assert environment == {
        "HOME": str(sandbox.home),
        "USER": "alice",
        "LOGNAME": "alice",
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "SGE_ROOT": str(sandbox.root / "ge"),
    }


@pytest.mark.parametrize("name", ["refuse", "die", "hang", "early", "cut", "late"])
def test_files_stay_unless_qsub_itself_said_no(sandbox, name):
    """Killed, timed out or cut off from the qmaster, it may have queued the job, which needs both."""
    status, answer = sandbox.run(sandbox.request(name=name, deadline=1))
    assert status == 0
    assert answer["timeout"] is (name in ("die", "hang"))
    assert answer["exit"] == {"refuse": 1, "early": 0, "cut": 1, "late": 1}.get(name)
    assert sandbox.files() == ([] if name == "refuse" else [f"{TAG}.json", f"{TAG}.log"])
    if name == "refuse":
        assert answer["stderr"] == "Unable to run job: no.\n"


CAPTURED = [one.completed for one in everything() if one.program == "qsub"]
ANSWERS = [
    *((completed.exit, completed.stdout, completed.stderr) for completed in CAPTURED),
    *((1, b"", f"error: {words}\n".encode()) for words in TRANSPORT.pattern.split("|")),
    *((status, b"", b"Unable to run job: no.\n") for status in (1, 25, 123, 124, 137, 255)),
    *(
        (1, out, err)
        for out in (b"7\n", b" 7.1-3:1 \n", b"7 of them\n", b'Your job 7 ("x") has been submitted\n',
                    b'Your job-array 7.1-3:1 ("x")\n', b"warning\n7\n", b"12345678901\n", b"")
        for err in (b"", b'Your "qsub" request could not be scheduled, try again later.\n')
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "out", "err"), ANSWERS)
def test_the_helper_and_the_hub_call_the_same_answers_a_refusal(status, out, err):
    """The hub looks for the job of any other answer, which could not start without its launch file."""
    try:
        parse_submission(Completed(status, out, err))
        refused = False
    except SubmissionRefusedError:
        refused = True
    except NoAnswerError:
        refused = False
    answer = {"exit": status, "stdout": out.decode(), "stderr": err.decode()}
    assert asuser.is_refusal(answer) is refused


def test_nobody_calls_an_outcome_that_is_not_known_a_refusal():
    """A qsub that was ended has no exit status."""
    assert not asuser.is_refusal({"exit": None, "stdout": "", "stderr": "Unable to run job: no.\n"})
    assert asuser.TRANSPORT.pattern == TRANSPORT.pattern


@pytest.mark.parametrize(("name", "least"), [("hang", 1.0), ("deaf", 1.4), ("flood", 1.0)])
def test_the_deadline_ends_qsub(sandbox, name, least):
    """TERM at the deadline, KILL half a second later; what qsub said until then is in the answer."""
    begin = time.monotonic()
    status, answer = sandbox.run(sandbox.request(name=name, deadline=1))
    assert least <= time.monotonic() - begin < least + 10
    assert (status, answer["exit"], answer["timeout"]) == (0, None, True)
    assert answer["stdout"].startswith("x" if name == "flood" else "7\n")
    assert len(answer["stdout"]) <= asuser.MAX_REQUEST
    if name != "flood":
        assert gone(sandbox.pid(), 10)


def test_a_request_that_has_expired_runs_nothing(sandbox):
    """Sudo took too long: whoever sent it has given it up, and may have concluded that there is no job."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    status, answer = sandbox.run(sandbox.request(expires=now - 0.1))
    assert (status, answer["refused"]["why"]) == (3, "bad-request")
    assert "expired" in answer["refused"]["message"]
    assert not sandbox.folder.exists()


def test_a_request_that_will_expire_ends_qsub_before_its_deadline(sandbox):
    """However late sudo was, nothing of the request happens after that time."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    status, answer = sandbox.run(sandbox.request(name="deaf", deadline=60, expires=now + 3))
    assert (status, answer["exit"], answer["timeout"]) == (0, None, True)
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - now < 10


def test_what_qsub_leaves_behind_is_ended(sandbox):
    """A helper that holds qsub's pipes open neither delays the answer nor stays."""
    begin = time.monotonic()
    assert sandbox.run(sandbox.request(name="litter"))[1]["stdout"] == "8\n"
    assert time.monotonic() - begin < 15
    assert gone(sandbox.pid(), 10)


def test_qsub_ends_by_itself_when_the_caller_is_killed(sandbox):
    """A KILL cannot be relayed: the program behind sudo keeps its own deadline."""
    request = sandbox.root / "request"
    request.write_text(json.dumps(sandbox.request(name="deaf", deadline=2)))
    with sandbox.start(caller=["sh", "-c", f'"$@" < {request}; true', "sh"]) as caller:
        pid = sandbox.pid()
        caller.kill()
    assert not gone(pid, 0.5)
    assert gone(pid, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_qsub_at_once(sandbox, number):
    """TERM, which sudo relays, moves the deadline to now; the answer still says what qsub had said."""
    with sandbox.start() as process:
        process.stdin.write(json.dumps(sandbox.request(name="hang", deadline=60)).encode())
        process.stdin.close()
        pid = sandbox.pid()
        process.send_signal(number)
        answer = json.loads(process.stdout.read())
        assert gone(pid, 10)
    assert answer == {"exit": None, "stdout": "7\n", "stderr": "", "timeout": True}


def test_even_a_kill_of_the_program_leaves_no_endless_qsub(sandbox):
    """The child carries an alarm of its own through exec."""
    with sandbox.start() as process:
        process.stdin.write(json.dumps(sandbox.request(name="hang", deadline=1)).encode())
        process.stdin.close()
        pid = sandbox.pid()
        process.kill()
    assert gone(pid, 10)


def test_a_caller_that_never_ends_its_request_is_given_up(sandbox):
    """The time to say what one wants is limited, too; the program of this test gives less of it."""
    seconds, text = 2.0, sandbox.program.read_text()
    line = f"READ_SECONDS = {asuser.READ_SECONDS}"
    assert text.count(line) == 1
    sandbox.program.write_text(text.replace(line, f"READ_SECONDS = {seconds}"))
    with sandbox.start() as process:
        process.stdin.write(b'{"verb"')
        process.stdin.flush()
        begin = time.monotonic()
        assert json.loads(process.stdout.read())["refused"]["why"] == "bad-request"
        assert time.monotonic() - begin < seconds + 15
        process.stdin.close()


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"{}", b" " * (asuser.MAX_REQUEST + 2)], ids=["empty", "text", "{}", "huge"]
)
def test_a_bad_request_touches_nothing(sandbox, data):
    """Exit status 3 and a sentence; no folder is made."""
    status, answer = sandbox.run(data)
    assert (status, answer["refused"]["why"]) == (3, "bad-request")
    assert not sandbox.folder.exists()


def test_root_is_refused(sandbox):
    """Whatever sudoers says."""
    status, answer = sandbox.run(sandbox.request(), uid=0)
    assert (status, answer["refused"]["why"]) == (3, "root")


def test_a_stranger_is_refused(sandbox):
    """An account without a passwd entry has no home."""
    assert sandbox.run(sandbox.request(), uid=52777)[1]["refused"]["why"] == "bad-request"


def test_verify_asks_without_submitting(sandbox):
    """The mode comes last, where it wins over every other -w; nothing is written."""
    status, answer = sandbox.run(sandbox.request("verify", mode="v", options=["-w", "e", "-l", "h_vmem=1G"]))
    assert (status, answer["exit"]) == (0, 0)
    assert json.loads(answer["stdout"])["argv"][1:] == ["-clear", "-w", "e", "-l", "h_vmem=1G", "-w", "v"]
    assert not sandbox.folder.exists()


def test_cancel_is_one_qdel(sandbox):
    """Also without a home: a job must be deletable when its owner's home is gone."""
    sandbox.know(sandbox.root / "nowhere")
    status, answer = sandbox.run(sandbox.request("cancel"))
    assert status == 0
    assert json.loads(answer["stdout"])["argv"] == [str(sandbox.root / "ge/qdel"), "17"]


@pytest.mark.parametrize(
    "unsafe",
    ["chown 51999 {ge}/qsub", "chmod o+w {ge}", "chown 51999 {ge}/default/common/sge_request", "rm {ge}/qsub"],
)
def test_an_unsafe_qsub_is_not_run(sandbox, unsafe):
    """What the hub's account can change, or what is not there, is named and not run; no file stays."""
    ge = sandbox.root / "ge"
    (ge / "default/common/sge_request").touch()
    subprocess.run(["sh", "-c", unsafe.format(ge=ge)], check=True, timeout=10)
    status, answer = sandbox.run(sandbox.request())
    assert (status, answer["refused"]["why"]) == (3, "command-unsafe")
    assert str(ge) in answer["refused"]["message"]
    assert sandbox.files() == []


def test_options_are_the_sites_the_scripts_and_the_hubs(sandbox):
    """In this order, and none of ~/.sge_request: what -clear drops of the script comes back as arguments."""
    defaults = sandbox.root / "ge/default/common/sge_request"
    defaults.touch()
    script = "#!/bin/bash\n#$ -clear\n#$-l h_rt=60 -A 'a b'\n #$ -no\necho '#$ -no'\n#$\n"
    _, answer = sandbox.run(sandbox.request(options=["-terse"], script=script))
    seen = json.loads(answer["stdout"])
    assert seen["argv"][1:] == ["-clear", "-@", str(defaults), "-l", "h_rt=60", "-A", "a b", "-terse"]
    assert seen["stdin"] == script


@pytest.mark.parametrize(
    "line", ["#$ -jsv /home/bob/x", "#$-jsv /home/bob/x", "#$ -N x '-jsv' /home/bob/x", "#$ -N 'x"]
)
def test_a_script_names_no_program_for_this_host(sandbox, line):
    """-jsv makes qsub run a program on the submit host."""
    status, answer = sandbox.run(sandbox.request(script=f"#!/bin/sh\n{line}\n"))
    assert (status, answer["refused"]["why"]) == (3, "bad-request")
    assert sandbox.files() == []


@pytest.mark.parametrize("options", [["-clear", "-@", "{home}/options"], ["-@"], ["-@", "options"]])
def test_an_option_file_must_be_safe_too(sandbox, options):
    """It may hold -jsv as well."""
    (sandbox.home / "options").touch()
    request = sandbox.request(options=[word.format(home=sandbox.home) for word in options])
    status, answer = sandbox.run(request)
    assert (status, answer["refused"]["why"]) == (3, "command-unsafe")


def test_an_option_file_named_in_the_script_must_be_safe_as_well(sandbox):
    """The script is no way around."""
    status, answer = sandbox.run(sandbox.request(script=f"#!/bin/sh\n#$ -@ {sandbox.passwd}\n"))
    assert (status, answer["exit"]) == (0, 0)
    (sandbox.home / "options").touch()
    status, answer = sandbox.run(sandbox.request(tag="0" * 12, script=f"#!/bin/sh\n#$-@ {sandbox.home}/options\n"))
    assert (status, answer["refused"]["why"]) == (3, "command-unsafe")
