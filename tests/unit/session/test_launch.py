"""The launch file is believed only if it is complete and nobody else's; nothing of it is quoted."""

from __future__ import annotations

import json
import os

import pytest

from sgehub.session.launch import LaunchError, await_launch, read_launch, remove_launch
from sgehub.session.main import server_environment

GOOD = {
    "tag": "0123456789ab",
    "environment": {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/", "EMPTY": ""},
    "command": ["jupyterhub-singleuser", "--debug"],
    "ports": [20000, 20000],
    "report": {"port": "http://head:8081/hub/api/batchspawner", "end": "https://[::1]/end?x=1"},
    "token": "s3cret",
    "log_limit": 1,
    "bind": "0.0.0.0",  # noqa: S104 - what the hub says
}
BAD = [
    {"environment": {"A": 1}},
    {"environment": {"A=B": "s3cret"}},
    {"environment": {"A": "s3cret\0"}},
    {"environment": []},
    {"command": []},
    {"command": "jupyter lab"},
    {"command": [""]},
    {"command": ["a\0b"]},
    {"ports": [0, 5]},
    {"ports": [6, 5]},
    {"ports": [1, 65536]},
    {"ports": [True, 5]},
    {"ports": [1]},
    {"ports": [1.0, 2.0]},
    {"report": {"port": "http://head/"}},
    {"report": {"port": "ftp://head/", "end": "http://head/"}},
    {"report": {"port": "http://head/", "end": "http://head/", "line": None}},
    {"report": {"port": "http://head/", "end": "http://head/", "other": "http://head/"}},
    {"report": {"line": "http://head/", "end": "http://head/"}},
    {"report": {"port": "http://head/", "end": "http://head:99999/"}},
    {"report": {"port": "http://head/", "end": "http:///"}},
    {"report": {"port": "http://head/", "end": "http://head/\r\nX: y"}},
    {"token": ""},
    {"token": "s3cret\r\nX: y"},
    {"token": 5},
    {"log_limit": 0},
    {"log_limit": True},
    {"bind": ""},
    {"tag": None},
]


def write(path, data, mode=0o600):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    path.chmod(mode)
    return str(path)


def test_a_good_file_is_read_whole(tmp_path):
    """And its representation, which a log may show, holds no secret."""
    launch = read_launch(write(tmp_path / "launch", {**GOOD, "later": "field"}))
    assert launch.command == ("jupyterhub-singleuser", "--debug")
    assert launch.ports == (20000, 20000)
    assert launch.end_url == "https://[::1]/end?x=1"
    assert "s3cret" not in repr(launch)
    assert "/user/alice/" not in repr(launch)


@pytest.mark.parametrize("change", BAD)
def test_a_malformed_field_is_named_and_not_quoted(tmp_path, change):
    """A wrong type or an impossible value: one sentence with the field's name."""
    [name] = change
    with pytest.raises(LaunchError, match=f"the field {name} of") as caught:
        read_launch(write(tmp_path / "launch", {**GOOD, **change}))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named(tmp_path, name):
    """Nothing has a default: the hub says everything."""
    data = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(LaunchError, match=f"the field {name} of"):
        read_launch(write(tmp_path / "launch", data))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"s3cret"', "\udcff".encode(errors="surrogateescape").decode("latin1")]
)
def test_what_is_no_object_is_refused(tmp_path, text):
    """Also a file that was cut off."""
    with pytest.raises(LaunchError, match="complete JSON object"):
        read_launch(write(tmp_path / "launch", text))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path, mode):
    """Somebody else may have read the token, or written the command."""
    with pytest.raises(LaunchError, match="nobody else can read"):
        read_launch(write(tmp_path / "launch", GOOD, mode))


def test_a_file_of_another_or_no_file_is_refused(tmp_path):
    """Neither another person's file, nor a link, a folder, a pipe, or nothing."""
    path = write(tmp_path / "launch", GOOD)
    os.chown(path, 52001, 52001)
    (tmp_path / "link").symlink_to(write(tmp_path / "mine", GOOD))
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("launch", "link", "pipe", "missing"):
        with pytest.raises(LaunchError, match=name):
            read_launch(str(tmp_path / name))


def test_a_hub_may_keep_a_line_or_not(tmp_path):
    """A launch file of before there were lines has no address for them."""
    assert read_launch(write(tmp_path / "launch", GOOD)).line_url is None
    report = {**GOOD["report"], "line": "http://head/line"}
    assert read_launch(write(tmp_path / "launch", {**GOOD, "report": report})).line_url == "http://head/line"


def test_only_the_file_that_was_read_is_removed(tmp_path):
    """The old run of a job that runs again elsewhere may still be ending when the new one gets its file."""
    path = tmp_path / "launch"
    launch = read_launch(write(path, GOOD))
    write(tmp_path / "draft", GOOD)
    (tmp_path / "draft").rename(path)
    remove_launch(str(path), launch.file)
    assert path.exists()
    remove_launch(str(path), read_launch(str(path)).file)
    assert not path.exists()
    remove_launch(str(path), launch.file)


def test_only_a_job_that_runs_again_waits_for_its_file(tmp_path):
    """Any other launch file that is missing was never written, and none will be."""
    said = []
    for restarted in ("", "0"):
        await_launch(str(tmp_path / "launch"), restarted, said.append)
    await_launch(write(tmp_path / "there", GOOD), "1", said.append)
    assert said == []
    await_launch(str(tmp_path / "launch"), "1", said.append, 0.1)
    assert len(said) == 1


def test_the_servers_environment_is_the_jobs_and_the_hubs(tmp_path):
    """What another session left behind goes; what the site says about the server, and PYTHONPATH, stay."""
    launch = read_launch(write(tmp_path / "launch", GOOD))
    inherited = {
        "PATH": "/env/bin",
        "PYTHONPATH": "/site",
        "JUPYTERHUB_API_TOKEN": "old",
        "JUPYTERHUB_CLIENT_ID": "old",
        "JPY_PARENT_PID": "1",
        "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
    }
    assert server_environment(launch, 20000, inherited) == {
        "PATH": "/env/bin",
        "PYTHONPATH": "/site",
        "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
        "EMPTY": "",
        "JUPYTERHUB_API_TOKEN": "s3cret",
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:20000/user/alice/",
    }
    launch = read_launch(
        write(tmp_path / "launch", {**GOOD, "bind": "::", "environment": {"JUPYTERHUB_API_TOKEN": "x"}})
    )
    environment = server_environment(launch, 20000, {})
    assert environment == {"JUPYTERHUB_API_TOKEN": "x", "JUPYTERHUB_SERVICE_URL": "http://[::]:20000/"}


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("~/work/x", "/home/alice/work/x"),
        ("~/", "/home/alice"),
        ("/scratch/x", "/scratch/x"),
        ("~bob/x", "~bob/x"),
    ],
)
def test_a_folder_of_the_home_is_below_the_home_of_this_host(tmp_path, folder, found):
    """The hub's machine may have homes elsewhere."""
    launch = read_launch(write(tmp_path / "launch", {**GOOD, "environment": {"JUPYTERHUB_ROOT_DIR": folder}}))
    assert server_environment(launch, 20000, {"HOME": "/home/alice"})["JUPYTERHUB_ROOT_DIR"] == found
