"""A session as a process: which port it reports, when it says that it ended, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest

from .conftest import AGAIN, COOKIE, TOKEN, alive, holder, until


def test_the_port_of_the_listening_server_is_reported(job, hub):
    """One POST, one integer, the token; the server knew port and prefix; the file is gone afterwards."""
    hub.observe = lambda _: (job.folder / "file").write_text(str(job.launch.exists()))
    job.start("slow", "0.5")
    until(lambda: hub.posts)
    [port] = job.notes("port")
    assert hub.posts == [("/port", f"token {TOKEN}", {"port": int(port)})]
    assert (job.folder / "file").read_text() == "True"
    assert job.ports[0] <= int(port) <= job.ports[1]
    assert job.notes("path") == ["/user/alice/lab/"]
    until(lambda: not job.launch.exists())


@pytest.mark.parametrize("how", [["wrapper"], ["listen"]])
def test_the_server_may_be_a_child_of_what_was_started(job, hub, how):
    """A wrapper such as a shell script counts as the server."""
    job.start(*how)
    until(lambda: hub.posts)
    pids = job.notes("pid")
    job.process.send_signal(signal.SIGTERM)
    job.end()
    assert not any(map(alive, pids))


@pytest.mark.parametrize("how", ["loopback", "other"])
def test_another_address_or_port_is_not_reported(job, hub, how):
    """The hub would be led to an address on which somebody else may listen."""
    job.start(how)
    until(lambda: job.notes("pid"))
    time.sleep(1)
    assert hub.posts == []
    job.process.send_signal(signal.SIGTERM)
    job.end()


def test_a_port_taken_by_another_process_is_never_reported(job, hub):
    """Taken between choice and start: the server ends, and the next try has another port."""
    low = job.ports[0]
    job.start("slow", "1", ports=[low, low + 1])
    until(lambda: job.notes("port"))
    [first] = job.notes("port")
    with holder(int(first)):
        until(lambda: hub.posts)
        second = low + 1 if int(first) == low else low
        assert hub.posts == [("/port", f"token {TOKEN}", {"port": second})]
    assert f"port {first} was taken by another process" in job.text()


def test_taken_ports_are_not_tried(job, hub):
    """Ports that are taken beforehand cost no start; without any free one the job says so and ends."""
    low = job.ports[0]
    with holder(low), holder(low + 1):
        job.start("listen", ports=[low, low + 2])
        until(lambda: hub.posts)
        assert hub.bodies("/port") == [{"port": low + 2}]
        job.process.send_signal(signal.SIGTERM)
        job.end()
        assert job.run("listen", ports=[low, low + 1]) == 1
    assert f"no port from {low} to {low + 1} is free" in job.text()
    assert hub.bodies("/end")[-1] == {"exit_code": 1}


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (["die", "0"], 0),
        (["die", "7"], 7),
        (["die", "99"], 1),
        (["die", "100"], 1),
        (["signal", str(int(signal.SIGKILL))], 137),
        (["signal", str(int(signal.SIGSEGV))], 139),
        (["later", "0.3", "5"], 5),
        (["later", "0.3", "99"], 1),
    ],
)
def test_the_exit_code_is_the_servers(job, hub, how, code):
    """But for 99 and 100, which Grid Engine takes as orders, and 128 + N for signal N. The hub hears it."""
    begin = time.monotonic()
    assert job.run(*how) == code
    assert hub.bodies("/end") == [{"exit_code": code}]
    assert hub.times[-1] - begin < 15
    assert not job.launch.exists()
    assert f"the server {'has ended' if how[0] == 'later' else 'ended'} with exit code {code}" in job.text()
    order = f"exit code {how[-1]} of the server would be an order to Grid Engine (qsub(1)): the job ends with 1."
    assert job.text().count(order) == (how[-1] in ("99", "100"))


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (
            ["jupyterhub-singleuser"],
            127,
            "the command jupyterhub-singleuser was not found in PATH=/nowhere; ",
        ),
        (["/no/such/jupyterhub-singleuser"], 127, "the command /no/such/jupyterhub-singleuser does not exist"),
        (["{folder}/plain"], 126, "plain cannot be run: Permission denied."),
        (["{folder}/orphan"], 126, "orphan cannot be run: the program its first line names is missing."),
    ],
)
def test_a_command_that_cannot_start_is_explained(job, hub, command, code, words):
    """At once, in the log, and the hub hears the exit code a shell would have given."""
    (job.folder / "plain").write_text("true")
    (job.folder / "orphan").write_text("#!/no/such/python\n")
    (job.folder / "orphan").chmod(0o755)
    command = [word.format(folder=job.folder) for word in command]
    environment = {"PATH": "/nowhere"}
    begin = time.monotonic()
    assert job.run(command=command, environment=environment.items()) == code
    assert time.monotonic() - begin < 15
    assert words in job.text()
    assert hub.bodies("/end") == [{"exit_code": code}]


def test_the_report_is_repeated_until_the_hub_answers(job, hub):
    """A hub that restarts, is slow or overloaded, gets the report again; the secrets wait as long."""
    hub.answers["/port"] = [500, 503, 429, 408, 302, 200]
    job.start("listen")
    until(lambda: len(hub.posts) == 2)
    assert job.launch.exists()
    until(lambda: len(hub.posts) == 6, 20)
    until(lambda: not job.launch.exists())
    time.sleep(0.5)
    assert len(hub.posts) == 6
    assert job.process.poll() is None


def test_an_unreachable_hub_ends_nothing(job, hub):
    """Connections that are refused, or never answered, are no reason to end a session."""
    hub.answers["/port"] = [None]
    dead = f"http://127.0.0.1:{job.ports[1]}/port"
    job.start("listen", ports=[job.ports[0], job.ports[0]], report={"port": dead, "end": hub.url("/end")})
    until(lambda: job.notes("pid"))
    time.sleep(1.5)
    assert job.process.poll() is None
    assert job.launch.exists()
    begin = time.monotonic()
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 0
    assert time.monotonic() - begin < 9
    assert not job.launch.exists()


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_ends_the_session(job, hub, status):
    """The hub knows this start no more: the server ends, the job fails."""
    hub.answers["/port"] = [status]
    assert job.run("listen") == 1
    assert f"the hub has refused this session (HTTP {status})" in job.text()
    assert hub.bodies("/end") == [{"exit_code": 1}]
    assert not alive(job.notes("pid")[0])


def test_a_run_with_the_secrets_of_one_before_begins_once_more_with_its_own(job, hub):
    """A run that never reached the hub leaves its launch file, which the hub replaces when it sees this one."""
    hub.answers["/port"] = [403, 200]
    job.start("listen", environment=AGAIN)
    until(lambda: "waiting for the hub to write its launch file anew" in job.text())
    until(lambda: not alive(job.notes("pid")[0]))
    job.write("listen", token="tok-of-this-run")
    until(lambda: len(hub.bodies("/port")) == 2)
    until(lambda: not job.launch.exists())
    first, second = job.notes("port")
    assert hub.bodies("/port") == [{"port": int(first)}, {"port": int(second)}]
    assert [token for _, token, _ in hub.posts] == [f"token {TOKEN}", "token tok-of-this-run"]
    assert alive(job.notes("pid")[1])
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0
    assert hub.bodies("/end") == [{"exit_code": 143}]


def test_a_refused_run_asks_again_when_the_hub_writes_nothing_and_then_ends(job, hub):
    """The hub may have been stopped before it saw this run; one that says no three times means it."""
    hub.answers["/port"] = [409, 503, 200]
    job.start("listen", environment=AGAIN, quick="_NEWER_SECONDS")
    until(lambda: len(hub.bodies("/port")) == 3)
    assert job.text().count("the hub has written no other launch file; asking it once more.") == 1
    until(lambda: not job.launch.exists())
    assert [alive(pid) for pid in job.notes("pid")] == [False, True]
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0
    hub.posts.clear()
    hub.answers["/port"] = [409]
    job.start("listen", environment=AGAIN, quick="_NEWER_SECONDS")
    assert job.end() == 1
    assert [path for path, _, _ in hub.posts] == ["/port"] * 3 + ["/end"]
    assert len(job.notes("pid")) == 5


def test_a_refused_run_that_waits_for_its_secrets_can_be_ended(job, hub):
    """Grid Engine ends the run that overlaps with the next one: what the hub writes then is not for it."""
    hub.answers["/port"] = [403]
    job.start("listen", environment=AGAIN)
    until(lambda: "waiting for the hub to write its launch file anew" in job.text())
    job.write("listen", token="tok-of-the-next-run")
    time.sleep(1)
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 140
    assert job.launch.exists()
    assert len(job.notes("pid")) == 1


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM", "SIGINT", "SIGXCPU", "SIGHUP"])
def test_a_signal_becomes_a_clean_end(job, hub, name):
    """The hub is told while the server still holds its port; then the server may end by itself."""
    number = signal.Signals[name]
    hub.observe = lambda path: path == "/end" and (job.folder / "then").write_text(str(alive(job.notes("pid")[0])))
    job.start("listen")
    until(lambda: hub.posts)
    job.process.send_signal(number)
    assert job.end() == 0
    assert hub.bodies("/end") == [{"exit_code": 128 + number}]
    assert (job.folder / "then").read_text() == "True"
    assert job.notes("clean") == [str(int(signal.SIGTERM))]
    assert f"ending the server because of {name}." in job.text()


def test_a_signal_before_the_server_listens_ends_it_too(job, hub):
    """Nothing is reported but the end."""
    job.start("slow", "30")
    until(lambda: job.notes("pid"))
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 0
    assert [path for path, _, _ in hub.posts] == ["/end"]


def test_a_server_that_does_not_end_is_killed(job, hub):
    """After about four seconds, with everything it started."""
    job.start("deaf")
    until(lambda: hub.posts)
    begin = time.monotonic()
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 137
    assert 3.5 < time.monotonic() - begin < 12
    assert not alive(job.notes("pid")[0])


def test_a_hub_that_hangs_does_not_hold_the_end_up(job, hub):
    """Two seconds to tell it before, three after; then accounting has to show what ended the server."""
    hub.answers["/end"] = [None]
    job.start("listen")
    until(lambda: hub.posts)
    begin = time.monotonic()
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 128 + signal.SIGUSR2
    assert time.monotonic() - begin < 9


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_an_announcement_to_every_process_harms_no_server(job, hub, number):
    """Grid Engine signals all processes of a job: the server ignores it, and ends cleanly if it has to end."""
    job.start("listen")
    until(lambda: hub.posts)
    server = int(job.notes("pid")[0])
    os.kill(server, number)
    job.process.send_signal(number)
    if number == signal.SIGUSR2:
        assert job.end() == 0
        assert job.notes("clean") == [str(int(signal.SIGTERM))]
    else:
        time.sleep(0.3)
        assert job.process.poll() is None
        assert alive(str(server))


def test_the_announcement_of_a_suspension_ends_nothing(job, hub):
    """SIGUSR1 comes before SIGSTOP (and at s_rt): the session notes it and lives."""
    job.start("listen")
    until(lambda: hub.posts)
    job.process.send_signal(signal.SIGUSR1)
    until(lambda: "announced a suspension" in job.text())
    time.sleep(0.3)
    assert job.process.poll() is None
    assert alive(job.notes("pid")[0])


@pytest.mark.parametrize("line", [False, True])
def test_an_idle_session_is_small_and_still(job, line):
    """At most 30 MB resident and 64 MB of addresses, and next to no CPU, without a TLS library."""
    job.line = line
    job.start("listen")
    until(lambda: not job.launch.exists())
    [process] = psutil.Process(job.process.pid).children()  # beside its guard, see there
    time.sleep(0.3)
    before = process.cpu_times()
    switches = process.num_ctx_switches().voluntary
    time.sleep(3)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.05
    assert process.num_ctx_switches().voluntary - switches <= 2
    assert process.memory_info().rss < 30e6
    assert process.memory_info().vms < 64e6
    assert not [item.path for item in process.memory_maps() if "libssl" in item.path]


def test_no_secret_is_written_anywhere_else(job, hub):
    """Neither token nor OAuth secrets stand in the log, the argument list or any file but the launch file."""
    hub.answers["/port"] = [500, 403]
    process = job.start("listen")
    arguments = psutil.Process(process.pid).cmdline()
    job.end()
    words = (
        job.text()
        + json.dumps(arguments)
        + "".join(path.read_text() for path in job.folder.iterdir() if path.is_file())
    )
    assert TOKEN not in words
    assert COOKIE not in words
