"""What provokes faults does provoke them, and is undone: otherwise the table of faults would show nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab import host
from sgehub.lab.cluster import Lab
from sgehub.lab.hub import LabHub
from tests.lab import faulty
from tests.lab.faulty import Commands, Qmaster, order, until
from tests.lab.hub_site import CONFIG


@pytest.fixture(scope="module")
def broken(install: Path) -> Iterator[Lab]:
    """Keep a lab that tests break and mend."""
    with faulty.quick_lab(f"faulty-{os.getpid()}", install=install, nodes=2, people=5) as lab:
        yield lab


def submit(lab: Lab, *options: str, name: str = "t", seconds: int = 100) -> str:
    """Submit a sleeping job as alice."""
    argv = ["qsub", "-terse", "-N", name, "-S", "/bin/sh", *options]
    return lab.run("head", argv, user="alice", input=f"sleep {seconds}\n").stdout.strip()


def answers(lab: Lab) -> bool:
    return lab.run("head", ["timeout", "2", "qconf", "-ss"]).returncode == 0


def test_the_people_of_a_lab_can_be_many(broken: Lab):
    """Beyond the three with names they are numbered."""
    assert broken.layout.people == ("alice", "bob", "carol", "u004", "u005")
    assert order(broken, "id", "-un", user="u005") == "u005\n"


def test_a_host_off_the_network_is_silent_and_comes_back(broken: Lab):
    """Its queues go to state u and return; connections are neither refused nor closed meanwhile."""
    with faulty.cut_off(broken, "node02"):
        ping = ["timeout", "2", "bash", "-c", f"echo >/dev/tcp/{broken.address('node02')}/6445"]
        assert broken.run("head", ping).returncode == 124
        taken = until(lambda: faulty.unheard_of(broken) == {"node02"})
    back = until(lambda: not faulty.unheard_of(broken))
    print(f"\nstate u after {taken:.1f} s, gone {back:.1f} s after the network is back")
    with pytest.raises(AssertionError, match="nothing"):
        until(lambda: False, 0.1, "nothing")


def test_a_qmaster_that_is_down_or_hangs(broken: Lab):
    """No answer meanwhile, and an answer afterwards."""
    qmaster = Qmaster(broken)
    for state in (qmaster.down(), qmaster.down(kill=True), qmaster.hung()):
        with state:
            assert not answers(broken)
        assert answers(broken)


def test_a_head_that_boots_without_its_qmaster(broken: Lab):
    """The machine is there, the qmaster comes later, execution hosts find it again."""
    broken.crash("head")
    broken.boot("head", gridengine=False)
    assert not answers(broken)
    broken.start_gridengine("head")
    assert answers(broken)
    begun = time.monotonic()
    faulty.restart_execds(broken, "node01", "node02")
    assert faulty.unheard_of(broken) == set()
    print(f"\nexecution hosts are back after {time.monotonic() - begun:.1f} s")


def test_job_numbers_begin_anew(broken: Lab):
    """After the last number comes 1."""
    qmaster = Qmaster(broken)
    qmaster.count_from(faulty.LAST_NUMBER)
    assert [submit(broken, "-h") for _ in range(2)] == [str(faulty.LAST_NUMBER), "1"]
    faulty.mend(broken)  # numbers never begin below a job that is there
    qmaster.count_from(100)
    assert submit(broken, "-h") == "100"
    faulty.mend(broken)


def test_a_job_that_cannot_start(broken: Lab):
    """Grid Engine's error state, with its reason."""
    with faulty.no_homes(broken, "node01", "node02"):
        job = submit(broken)
        until(lambda: " Eqw " in broken.run("head", ["qstat", "-u", "*"]).stdout)
        assert "can't chdir" in order(broken, "qstat", "-j", job)
    faulty.mend(broken)
    assert faulty.jobs(broken) == []


def test_a_job_waits_while_its_queue_is_closed(broken: Lab):
    """And runs as soon as the queue is open."""
    with faulty.no_queues(broken, "long.q"):
        submit(broken, "-q", "long.q")
        time.sleep(3)
        assert " qw " in faulty.jobs(broken)[0]
    until(lambda: " r " in faulty.jobs(broken)[0])
    faulty.mend(broken)


def test_a_small_home_is_one_for_all_hosts(broken: Lab):
    """What one host writes the other reads, and what fills it fills it everywhere."""
    (broken.layout.homes / "bob" / "kept").write_text("kept")
    with faulty.small_home(broken, "bob") as home:
        order(broken, "sh", "-c", "echo written >~/there", user="bob")
        where = ["cat", f"{home}/there", f"{home}/kept"]
        assert broken.run("node02", where, user="bob").stdout == "written\nkept"
        faulty.fill(broken, "bob")
        full = broken.run("node01", ["bash", "-c", f"echo more >{home}/more"], user="bob")
        assert "No space left" in full.stderr
    assert broken.run("node01", ["ls", str(home)], user="bob").stdout == "kept\n"


def test_commands_are_replaced_and_restored(broken: Lab):
    """Each script answers as it says, and the real command is back after it."""
    commands = Commands(broken)
    job = submit(broken, "-h", name="odd")

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return broken.run("head", [f"{commands.path}/qstat", *arguments])

    real = ask("-xml", "-u", "*")
    assert job in real.stdout
    with commands.replaced("qstat", faulty.EMPTY):
        assert (ask("-xml").returncode, ask("-xml").stdout) == (0, "")
    with commands.replaced("qstat", faulty.HALF):
        half = ask("-xml", "-u", "*").stdout
        assert real.stdout.startswith(half)
        assert 0.4 < len(half) / len(real.stdout) < 0.6
    with commands.replaced("qstat", faulty.ILL_FORMED):
        odd = ask("-u", "*", "-s", "prs", "-xml").stdout
        assert '<JB_name>a\x01<b & "c</JB_name>' in odd
        assert job in odd
    with commands.replaced("qstat", faulty.slow(1.5)):
        begun = time.monotonic()
        assert job in ask("-xml", "-u", "*").stdout
        assert time.monotonic() - begun > 1.5
    with commands.replaced("qstat", faulty.once(faulty.EMPTY, f"mark-{job}")):
        assert ask("-xml", "-u", "*").stdout == ""
        assert job in ask("-xml", "-u", "*").stdout
    garbage = ["sh", "-c", f"{commands.path}/qstat | wc -c"]
    with commands.replaced("qstat", faulty.GARBAGE):
        assert int(order(broken, *garbage)) > 4000
    lost = ["sh", "-c", f"echo true | {commands.path}/qsub -terse -h -N lost -S /bin/sh"]
    with commands.replaced("qsub", faulty.ANSWER_LOST):
        done = broken.run("head", lost, user="alice")
        assert (done.returncode, done.stdout) == (137, "")
    with commands.replaced("qsub", faulty.late_answer(1)):
        assert broken.run("head", lost, user="alice").stdout.strip().isdigit()
    assert [row.split()[2] for row in faulty.jobs(broken)] == ["odd", "lost", "lost"]
    faulty.mend(broken)


def test_a_wrong_clock_is_one_programs_own(broken: Lab):
    """Five minutes ahead, and time goes on at its pace."""
    now = ["/usr/bin/python3", "-c", "import time; print(time.time())"]
    done = broken.run("head", now, env=faulty.wrong_clock(300))
    assert float(done.stdout) - time.time() == pytest.approx(300, abs=5), done.stderr
    assert float(order(broken, *now)) == pytest.approx(time.time(), abs=5)


def test_a_database_is_copied_and_restored(broken: Lab):
    """Also while it is written to."""
    hub = LabHub(broken, CONFIG)
    script = "import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit()"
    file = "/srv/jupyterhub/jupyterhub.sqlite"

    def write(text: str) -> None:
        order(broken, faulty.PYTHON, "-c", script, file, text, user="jupyterhub")

    write("CREATE TABLE a (b)")
    copy = faulty.copy_database(hub)
    write("DROP TABLE a")
    faulty.restore_database(hub, copy)
    write("DROP TABLE a")
    hub.forget()


def test_mend_undoes_everything(broken: Lab):
    """A host off, one cut off, a hung qmaster, closed queues, jobs."""
    submit(broken, "-l", "h=node02")
    until(lambda: " r " in faulty.jobs(broken)[0])
    order(broken, "qmod", "-d", "*")
    submit(broken)
    broken.crash("node02")
    host.plug(broken.layout, "node01", connected=False)
    Qmaster(broken).hang()
    begun = time.monotonic()
    faulty.mend(broken)
    print(f"\nmended in {time.monotonic() - begun:.1f} s")
    assert faulty.jobs(broken) == []
    job = submit(broken, "-l", "h=node02")
    until(lambda: faulty.jobs(broken) and " r " in faulty.jobs(broken)[0])
    assert job in faulty.jobs(broken)[0]
    faulty.mend(broken)
