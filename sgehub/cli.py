"""The command `sgehub`: reads arguments, calls one thing, prints. No rule of the house is decided here.

A further command is one function that adds its parser, named in COMMANDS; its parser carries the function to run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.lab import demo
from sgehub.lab.cluster import Lab
from sgehub.lab.layout import people_named
from sgehub.siteconfig import load_site, open_site, read_site

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns
_NOT_KNOWN = 2
_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def _lab_up(arguments: argparse.Namespace) -> int:
    lab = Lab(
        arguments.name,
        subnet=arguments.subnet,
        nodes=arguments.nodes if arguments.simulate is None else arguments.simulate,
        simulated=arguments.simulate is not None,
        people=people_named(arguments.users),
        install=arguments.install,
    )

    def report(phase: str, seconds: float) -> None:
        if arguments.verbose:
            print(f"{phase:<16} {seconds:6.2f} s", flush=True)

    started = time.monotonic()
    lab.up(report)
    print(f"Lab {lab.name}: {', '.join(lab.hosts)} are up after {time.monotonic() - started:.1f} s.")
    return 0


def _lab_down(arguments: argparse.Namespace) -> int:
    Lab(arguments.name).down()
    return 0


def _lab_on(arguments: argparse.Namespace) -> int:
    lab = Lab.open(arguments.name)
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    command = [*arguments.command, *arguments.arguments]
    command = lab.command(arguments.host, command, user=arguments.user)
    environment = lab.environment(arguments.user, terminal)
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 - an argument list, no shell; the terminal becomes the command's


def _lab_crash(arguments: argparse.Namespace) -> int:
    Lab.open(arguments.name).crash(arguments.host)
    return 0


def _lab_boot(arguments: argparse.Namespace) -> int:
    Lab.open(arguments.name).boot(arguments.host)
    return 0


def _lab_status(arguments: argparse.Namespace) -> int:
    for host in Lab.open(arguments.name).status():
        print(f"{host.name:<8} {host.address:<15} {'up' if host.running else 'off'}")
    return 0


def _add_lab(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `sgehub lab`."""
    lab = commands.add_parser("lab", help="a real Grid Engine cluster on this machine, for demo and tests")
    actions = lab.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=text, description=text)
        parser.add_argument("--name", default="lab", help="which lab (default: %(default)s)")
        parser.set_defaults(run=run)
        return parser

    up = action("up", _lab_up, "bring a lab up")
    up.add_argument("--nodes", type=int, default=3, metavar="N", help="execution hosts (default: %(default)s)")
    up.add_argument(
        "--simulate",
        type=int,
        metavar="N",
        help="have N execution hosts that are names only, where a real qmaster pretends that jobs run",
    )
    up.add_argument(
        "--users", type=int, default=3, metavar="N", help="people with accounts (default: %(default)s)"
    )
    up.add_argument(
        "--subnet", metavar="A.B.C", help="first three numbers of the addresses (default: a free 10.77.x)"
    )
    up.add_argument(
        "--install",
        type=Path,
        default=Path(sys.prefix),
        metavar="FOLDER",
        help="virtual environment the hosts see as /opt/sgehub (default: this one)",
    )
    up.add_argument("--verbose", action="store_true", help="print each phase and its time")
    action("down", _lab_down, "take a lab down, whatever state it is in")
    on = action("on", _lab_on, "run a command on a host of a lab")
    on.add_argument("--user", help="whose command it is (default: root)")
    on.add_argument("host")
    on.add_argument("command", nargs=1)
    on.add_argument("arguments", nargs=argparse.REMAINDER)
    for name, run, text in (
        ("crash", _lab_crash, "cut a host's power"),
        ("boot", _lab_boot, "boot a host that is off"),
    ):
        action(name, run, text).add_argument("host")
    action("status", _lab_status, "show the hosts of a lab")


def _demo(arguments: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(text, flush=True)

    if arguments.stop:
        demo.stop(say)
    else:
        demo.run(demo.port_of(arguments.port), arguments.site, say)
    return 0


def _add_demo(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `sgehub demo`."""
    parser = commands.add_parser("demo", help="a cluster with JupyterHub on this machine, until Ctrl-C")
    parser.add_argument("--port", default="8000", help="port of 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--stop", action="store_true", help="end the one that runs")
    parser.add_argument(
        "--site",
        type=Path,
        default=Path(sys.prefix) / "share" / "sgehub",
        metavar="FOLDER",
        help="folder of config/ and scripts/ (default: the installed one)",
    )
    parser.set_defaults(run=_demo)


def _reap(arguments: argparse.Namespace) -> int:
    from sgehub.hub import reap  # noqa: PLC0415 - the other commands need not wait for the database's library

    try:
        policy = load_site(arguments.site)
        database = reap.open_database(arguments.db or f"sqlite:///{arguments.state}/jupyterhub.sqlite")
        report = asyncio.run(reap.run(policy, database, end=arguments.end))
    except SgehubError as error:
        if arguments.json:
            print(json.dumps({"status": _NOT_KNOWN, "error": str(error)}))
        print(f"sgehub: {error}", file=sys.stderr)
        return _NOT_KNOWN
    if arguments.json:
        print(json.dumps({"status": report.status, "jobs": report.rows()}, indent=2))
    else:
        print(*report.lines(), sep="\n")
    return report.status


def _add_reap(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `sgehub reap`."""
    text = "list the hub's jobs that no server holds, and end those of which that is certain"
    parser = commands.add_parser("reap", help=text, description=f"{text}; run it as the hub's account")
    parser.add_argument("--end", action="store_true", help="end them; without this, nothing is changed")
    parser.add_argument("--json", action="store_true", help="print JSON, with the jobs that servers hold")
    parser.add_argument("--site", type=Path, default=Path("/etc/sgehub/site.yaml"), metavar="FILE")
    parser.add_argument(
        "--state", type=Path, default=Path("/srv/jupyterhub"), metavar="FOLDER", help="the hub's own folder"
    )
    parser.add_argument("--db", metavar="URL", help="the hub's database, where it is not SQLite in that folder")
    parser.set_defaults(run=_reap)


def _check_site(arguments: argparse.Namespace) -> int:
    from sgehub.hub import sitecheck  # noqa: PLC0415 - the other commands need not wait for JupyterHub

    if arguments.file == "-":
        file = read_site(sys.stdin.buffer.read().decode("utf-8", "replace"), "standard input")
    else:
        file = open_site(Path(arguments.file))
    if arguments.offline:
        found = (*sitecheck.render(file.policy), *asyncio.run(sitecheck.read_by_bash(file.policy)))
    else:
        try:
            found = asyncio.run(sitecheck.check_cluster(file.policy, arguments.person))
        except NoAnswerError as error:
            print(f"sgehub: {file.source} can be read. Nothing else is known: {error}", file=sys.stderr)
            return _NOT_KNOWN
    for one in found:
        print(f"{file.place(*one.path)}: {'consider: ' if one.wish else ''}{one.sentence}")
    wrong = sum(not one.wish for one in found)
    what = "the file alone" if arguments.offline else "the file and its cluster"
    print(f"{file.source}: {wrong or 'no'} mistake{'' if wrong == 1 else 's'} in {what}.")
    return int(wrong > 0)


def _discover(arguments: argparse.Namespace) -> int:
    from sgehub.hub import discover  # noqa: PLC0415 - as above

    print(asyncio.run(discover.discover(os.environ, str(arguments.folder))), end="")
    return 0


def _add_discover(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `sgehub discover`."""
    text = "print a site's file for the cluster of this machine"
    parser = commands.add_parser(
        "discover", help=text, description=f"{text}, as its settings.sh has set SGE_ROOT."
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(sys.prefix) / "bin",
        metavar="FOLDER",
        help="of python, sgehub-session and jupyterhub-singleuser on execution hosts (default: %(default)s)",
    )
    parser.set_defaults(run=_discover)


def _add_check_site(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `sgehub check-site`."""
    text = "look for mistakes in a site's file, and compare it with the cluster"
    parser = commands.add_parser(
        "check-site",
        help=text,
        description=f"{text}. Exit status: 0 for none, 1 for mistakes, 2 if Grid Engine does not answer.",
    )
    parser.add_argument(
        "file", nargs="?", default="/etc/sgehub/site.yaml", metavar="FILE", help="- is standard input"
    )
    parser.add_argument("--offline", action="store_true", help="ask no cluster")
    parser.add_argument(
        "--person", metavar="NAME", help="also have qsub -w v judge the defaults and each queue's maxima as NAME"
    )
    parser.set_defaults(run=_check_site)


COMMANDS: tuple[Callable[[Commands[argparse.ArgumentParser]], None], ...] = (
    _add_lab,
    _add_demo,
    _add_reap,
    _add_discover,
    _add_check_site,
)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Turn a request to end into the exception that lets everything be taken down on the way."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by `argv` and return its exit status: 1 for an error that has a sentence."""
    parser = argparse.ArgumentParser(prog="sgehub", description="JupyterHub on Grid Engine")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        status: int = arguments.run(arguments)
    except SgehubError as error:
        print(f"sgehub: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
