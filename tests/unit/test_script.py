"""Job scripts hold the site's lines and quoted values, nothing a person typed."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from sgehub.errors import SiteConfigurationError
from sgehub.script import JobScript, render_batch_script, render_job_script

PLAIN = JobScript(
    home="/home/alice",
    python="/opt/sgehub/bin/python",
    program="/opt/sgehub/bin/sgehub-session",
    launch_file="/home/alice/.sgehub/run/0123456789ab.json",
)
TEXT = st.text(st.characters(blacklist_characters="\x00\n\r", blacklist_categories=["Cs"]), max_size=30)


def with_(**changes):
    """Return the plain job with some fields changed."""
    return JobScript(**{name: changes.get(name, getattr(PLAIN, name)) for name in PLAIN.__slots__})


@given(TEXT, TEXT, TEXT)
def test_values_add_no_line_and_no_word(home, folder, launch):
    """Whatever homes and folders are called, the script has the template's lines, and bash reads them back."""
    script = render_job_script(with_(home=f"/h{home}", path=[f"/p{folder}"], launch_file=f"/l{launch}"))
    plain = render_job_script(with_(path=["/p"]))
    assert len(script.splitlines()) >= len(plain.splitlines())
    assert script.count("\n") == plain.count("\n")


@pytest.mark.parametrize(
    "home", ["/home/alice smith", "/home/$(touch x)", "/home/a'b", '/home/a"b', "/home/`id`", "/home/-n"]
)
def test_bash_takes_every_value_literally(tmp_path, home):
    """Run the real script with echo in Python's place, and look at the argument that arrives."""
    echo = tmp_path / "echo args"
    echo.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    job = with_(python=str(echo), home=str(tmp_path), launch_file=f"{home}/run/x.json")
    done = subprocess.run(
        ["/bin/bash"],
        input=render_job_script(job),
        text=True,
        capture_output=True,
        timeout=20,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.splitlines() == ["-I", "/opt/sgehub/bin/sgehub-session", f"{home}/run/x.json"]
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["echo args"]


def run(job, **env):
    """Run a job script with bash and a bare environment."""
    return subprocess.run(
        ["/bin/bash"],
        input=render_job_script(job),
        text=True,
        capture_output=True,
        timeout=20,
        env={"PATH": "/usr/bin:/bin", **env},
        check=False,
    )


def test_the_jobs_environment_is_made_for_a_cluster(tmp_path):
    """Threads follow the slots, runtime files leave the NFS home, inherited traps are taken away."""
    show = tmp_path / "python"
    show.write_text("#!/bin/sh\nenv\n")
    show.chmod(0o755)
    done = run(
        with_(python=str(show), home=str(tmp_path), path=["/first", "/second"]),
        NSLOTS="3",
        TMPDIR="/scratch/1",
        XDG_RUNTIME_DIR="/run/user/0",
        PYTHONPATH="/trap",
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "3"
    assert found["JUPYTER_RUNTIME_DIR"] == "/scratch/1/jupyter-runtime"
    assert found["PATH"].startswith("/first:/second:/usr/bin")
    assert not {"XDG_RUNTIME_DIR", "PYTHONPATH", "PYTHONHOME"} & set(found)


def test_a_missing_session_program_is_said_in_the_log():
    """The person and the administrator read this at midnight."""
    done = run(with_(python="/no/such/python", home="/"))
    assert done.returncode == 127
    assert "/no/such/python is not on" in done.stdout
    assert "session.folder in site.yaml" in done.stdout


def test_the_epilogue_runs_after_the_server_and_keeps_its_status(tmp_path):
    """Also when Grid Engine's notification reaches the whole process group."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/bash\nkill -USR2 $PPID\nexit 7\n")
    fake.chmod(0o755)
    done = run(with_(python=str(fake), home="/", epilogue="echo cleaned up"))
    assert done.stdout.splitlines() == ["cleaned up"]
    assert done.returncode == 7


@pytest.mark.parametrize("code", ["99", "100"])
def test_no_session_gives_grid_engine_an_order_past_an_epilogue(tmp_path, code):
    """99 would run the job again, 100 put it into error state; whatever names the epilogue uses."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/bash\nexit {code}\n")
    fake.chmod(0o755)
    done = run(with_(python=str(fake), home="/", epilogue="status=99"))
    assert f"exit code {code} would be an order to Grid Engine" in done.stdout
    assert done.returncode == 1


def test_a_sites_template_comes_first_and_its_errors_are_named(tmp_path):
    """A folder of the site is searched before ours; a name that does not exist is an error with its line."""
    (tmp_path / "job").mkdir()
    template = tmp_path / "job" / "session.sh.j2"
    template.write_text("#!/bin/bash\nexec {{ job.command }}\n")
    assert render_job_script(PLAIN, [tmp_path]) == f"#!/bin/bash\nexec {PLAIN.command}\n"
    template.write_text("#!/bin/bash\n{{ job.nothing }}\n")
    with pytest.raises(SiteConfigurationError, match=r"session\.sh\.j2.*nothing"):
        render_job_script(PLAIN, [tmp_path])
    template.write_text("#!/bin/bash\n{% if %}\n")
    with pytest.raises(SiteConfigurationError, match="line 2"):
        render_job_script(PLAIN, [tmp_path])


def test_a_changed_template_holds_for_the_next_job_and_an_unchanged_one_is_compiled_once(tmp_path, monkeypatch):
    """Also one that was not there before, and one that is taken away."""
    compiled, compile_template = [], Environment.compile

    def counted(self: Environment, source: str, name: str, *more: object) -> object:
        compiled.append(name)
        return compile_template(self, source, name, *more)

    monkeypatch.setattr(Environment, "compile", counted)
    mine = tmp_path / "job" / "session.sh.j2"
    mine.parent.mkdir()
    shipped = render_job_script(PLAIN, [tmp_path])
    compiled.clear()
    for text in ("echo one", "echo one", "echo two", "echo two"):
        mine.write_text(text)
        assert render_job_script(PLAIN, [tmp_path]) == text
    mine.unlink()
    assert render_job_script(PLAIN, [tmp_path]) == shipped
    assert compiled == 2 * ["job/session.sh.j2"]


def test_a_command_for_other_scripts_brings_its_path(tmp_path):
    """A script written for batchspawner knows nothing of the site's folders; `exec` before it works, too."""
    show = tmp_path / "python"
    show.write_text('#!/bin/sh\necho "$PATH"\n')
    show.chmod(0o755)
    job = with_(python=str(show), path=["/a b", "/c"])
    done = subprocess.run(
        ["/bin/bash", "-c", f"exec {job.standalone_command}"],
        capture_output=True,
        text=True,
        timeout=20,
        env={"PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout == "/a b:/c:/usr/bin:/bin\n"
    assert with_().standalone_command == PLAIN.command


VARIABLES = {"cmd": "run it", "queue": "a.q"}


@pytest.mark.parametrize("source", ["#$ -q {queue}\n{cmd}\n", "#$ -q {{ queue }}\n{{ cmd }}\n"])
def test_scripts_written_for_batchspawner_are_rendered(source):
    """Both of batchspawner's notations."""
    assert render_batch_script(source, VARIABLES).split() == ["#$", "-q", "a.q", "run", "it"]


@pytest.mark.parametrize("source", ["{nope}", "{{ nope }}", "{", "{0}", "{% if %}"])
def test_a_batch_script_that_fails_is_the_sites_error(source):
    """Unknown variables are never empty text."""
    with pytest.raises(SiteConfigurationError):
        render_batch_script(source, VARIABLES)


def launched(tmp_path, job, **env):
    """Run a job whose Python prints PATH and CONDA_PREFIX, and return what came out."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "PATH=$PATH"\necho "CONDA=$CONDA_PREFIX"\n')
    python.chmod(0o755)
    values = {name: getattr(job, name) for name in job.__slots__}
    return run(JobScript(**{**values, "python": str(python), "home": str(tmp_path)}), **env)


def test_modules_are_loaded_in_order():
    """By the function that the host has; a name is one word whatever it holds."""
    module = 'module() { echo "module:$*"; }; export -f module'
    done = subprocess.run(
        ["/bin/bash", "-c", f'{module}; /bin/bash -c "$SCRIPT"'],
        env={"PATH": "/usr/bin:/bin", "SCRIPT": render_job_script(with_(modules=["cuda/12.1", "a b"]))},
        text=True,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.splitlines()[1:3] == ["module:load cuda/12.1", "module:load a b"]


def test_a_module_that_cannot_be_loaded_ends_the_job_with_a_sentence(tmp_path):
    """A server without what it was chosen for would fail later, and without a word."""
    done = launched(tmp_path, with_(modules=["cuda/12.1"]))
    assert done.returncode == 1
    assert done.stdout.startswith("sgehub: the module cuda/12.1 cannot be loaded on ")


def test_a_conda_environment_is_activated_by_its_own_script(tmp_path):
    """That of the environment, or of the installation that it is part of; the prologue comes after it."""
    env = tmp_path / "conda root" / "envs" / "ml"
    (env / "bin").mkdir(parents=True)
    script = tmp_path / "conda root" / "bin" / "activate"
    script.parent.mkdir()
    script.write_text('export CONDA_PREFIX="$1" ACTIVATED=1 PATH="$1/bin:$PATH"\n')
    done = launched(
        tmp_path, with_(conda=str(env), prologue='echo "A=$ACTIVATED"'), CONDA_PREFIX="/of/the/submitter"
    )
    assert done.stdout.splitlines()[0] == "A=1"
    assert f"CONDA={env}" in done.stdout.splitlines()
    script.unlink()
    done = launched(tmp_path, with_(conda=str(env)))
    assert f"PATH={env}/bin:/usr/bin:/bin" in done.stdout.splitlines()
    assert f"CONDA={env}" in done.stdout.splitlines()


def test_a_conda_environment_that_is_not_there_ends_the_job_with_a_sentence(tmp_path):
    """On this host, perhaps: the sentence names it."""
    done = launched(tmp_path, with_(conda="/no/such"))
    assert done.returncode == 1
    assert done.stdout.startswith("sgehub: the conda environment /no/such is not on ")
