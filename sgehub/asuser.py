#!/usr/bin/python3 -IS
"""Do one thing at Grid Engine as the person who runs this program, and nothing as root.

Law: one request (JSON) comes in on stdin, one answer (JSON) leaves on stdout. Standard library only, Python
3.6 is enough, never a shell, no environment but the one made here. The caller is the hub's account through
sudo, and it is not trusted: whatever it asks for, no program runs on this host but the site's own qsub and
qdel, and no file is touched outside a folder that is the person's. It is one file of more than 300 lines so
that it can be read, installed and trusted alone; it imports nothing of ours.

Exit status 0: the answer described at the function of each verb. 3: {"refused": {"why": code, "message":
sentence}}, code one of bad-request, root, home-missing, home-full, home-not-writable, folder-unsafe,
command-unsafe. Every string of the request is UTF-8 towards the kernel, whatever the locale.
"""

import contextlib
import errno
import json
import os
import pwd
import re
import select
import signal
import stat
import sys
import time

TYPE_CHECKING = False  # what type checkers look for; importing typing itself costs start-up time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Set, Tuple

    Request = Dict[str, Any]

MAX_REQUEST = 1 << 20  # bytes, of the request and of each output of a command
MAX_TAIL = 1 << 16  # bytes of a log that are read
BOOTTIME = getattr(time, "CLOCK_BOOTTIME", 7)  # clock_gettime(2); Python 3.6 lacks the name
READ_SECONDS = 20.0  # for the caller to deliver its request; a hub that is very busy is late
GRACE_SECONDS = 0.5  # between TERM and KILL
FIRST_PERSON = 1000  # smallest user and group id that are people's, as in login.defs(5)
MAX_LINKS = 40  # on the way to a file, path_resolution(7)
OWNERS = "/etc/sgehub/trusted-owners"  # root's list of further accounts that may own Grid Engine's files
WAITING = re.compile(r"^[^#\n]*-sync\s+y", re.MULTILINE)
TAG = re.compile(r"[0-9a-f]{12}\Z")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# When qsub's exit status is no refusal: the qmaster may have queued the job before it, or the network, went away.
# A test holds this together with what the hub makes of the same answer (answers.py, parse_qsub.py).
SIGNALLED = 124  # exit statuses from here on: time-outs, and shells that tell of a signal
TRANSPORT = re.compile(
    r"commlib error|unable to send message to qmaster|unable to contact qmaster|got send error|got read error"
    r"|got select error|cannot get configuration from qmaster|error reading answer list from qmaster"
    r"|can't unpack gdi|failed receiving gdi|unable to sync state with remote execd",
    re.IGNORECASE,
)
NUMBER = re.compile(
    r"^\s*([0-9]{1,10}(\.[0-9]+-[0-9]+:[0-9]+)?\s*$|Your job(-array)? [0-9]{1,10}(\.[0-9:-]+)? \()", re.MULTILINE
)
WITHDRAWN = "could not be scheduled"  # -now y: submitted, and deleted again
SETTINGS = ("SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_ARCH", "SGE_CLUSTER_NAME")
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RefusedError(Exception):
    """A request that is not served: a code for the hub, a sentence for the person."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.message = message


def _bad(message: str) -> RefusedError:
    return RefusedError("bad-request", message)


# --- What a request may say -------------------------------------------------------------------------------


def _clean(value: object) -> bool:
    """Tell whether `value` is one line of text that the kernel takes as an argument."""
    if not isinstance(value, str) or CONTROL.search(value):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _script(value: object) -> bool:
    """Tell whether `value` is a text that a shell can read."""
    return isinstance(value, str) and _clean(value.replace("\t", " ").replace("\n", " "))


def _number(low: float, high: float, value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _path(value: object) -> bool:
    return _clean(value) and os.path.normpath(str(value)) == value and str(value).startswith("/")


def _cluster(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"bin", "environment"} or not _path(value["bin"]):
        return False
    settings = value["environment"]
    return (
        isinstance(settings, dict)
        and set(settings) <= set(SETTINGS)
        and all(map(_clean, settings.values()))
        and _path(settings.get("SGE_ROOT"))
        and "/" not in settings.get("SGE_CELL", "default")
    )


CHECKS: "Dict[str, Tuple[Callable[[Any], bool], str]]" = {
    "verb": (lambda value: value in VERBS, "be one of submit, cancel, verify, tail, discard, launch"),
    "deadline": (lambda value: _number(1, 120, value), "be a number of seconds from 1 to 120"),
    "expires": (
        lambda value: value is None or _number(0, 10**10, value),
        "be a number of seconds since the start of this machine",
    ),
    "cluster": (_cluster, 'be {"bin": folder, "environment": {SGE_ROOT, ...}} with known names only'),
    "folder": (lambda value: _path(value) and value != "/", "be an absolute path without control characters"),
    "tag": (
        lambda value: isinstance(value, str) and bool(TAG.match(value)),
        "be 12 lower-case hexadecimal digits",
    ),
    "options": (
        lambda value: isinstance(value, list) and all(map(_clean, value)) and "-jsv" not in value,
        "be a list of strings without control characters and without -jsv",
    ),
    "script": (_script, "be a text without control characters but tabs and newlines"),
    "launch": (lambda value: isinstance(value, dict), "be an object"),
    "keep_logs": (
        lambda value: isinstance(value, int) and _number(1, 10000, value),
        "be a number from 1 to 10000",
    ),
    "job": (lambda value: isinstance(value, int) and _number(1, 10**10, value), "be a job number"),
    "mode": (lambda value: value in ("p", "v"), "be p or v"),
    "lines": (lambda value: isinstance(value, int) and _number(1, 200, value), "be a number from 1 to 200"),
}


def check_request(data: bytes) -> "Request":
    """Return the request that `data` holds, or raise RefusedError("bad-request")."""
    try:
        request = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise _bad("The request is not JSON in UTF-8.") from None
    verb = request.get("verb") if isinstance(request, dict) else None
    if not isinstance(verb, str) or verb not in VERBS:
        raise _bad("The request must be an object whose verb must {}.".format(CHECKS["verb"][1]))
    _, required, optional = VERBS[verb]
    optional = dict(optional, expires=None)
    for name in sorted({"verb", "deadline"} | required | set(request)):
        if name not in {"verb", "deadline"} | required | set(optional):
            raise _bad("A request to {} has no field named {}.".format(verb, ascii(name)[:60]))
        check, rule = CHECKS[name]
        if name not in request and name not in optional:
            raise _bad("A request to {} must have the field {}.".format(verb, name))
        if name in request and not check(request[name]):
            raise _bad("The field {} of a request to {} must {}.".format(name, verb, rule))
    return dict(optional, **request)


def read_request(descriptor: int, until: float) -> bytes:
    """Read the whole request; refuse what is too long or takes longer than `until` (monotonic seconds)."""
    data = b""
    while len(data) <= MAX_REQUEST:
        if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            raise _bad("The request did not arrive in time: the hub or its machine is overloaded. Try again.")
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return data
        data += piece
    raise _bad("The request is longer than {} bytes.".format(MAX_REQUEST))


# --- Whose program may run --------------------------------------------------------------------------------


class Trust:
    """Decides which files of Grid Engine only root and system accounts can have written.

    `hub` is the caller's user id, or None. People's files are never trusted, not even those of others:
    whoever the hub may serve could have been made to prepare a program for the next. `owners` is root's file
    of accounts that may own Grid Engine's files although their ids are people's, one name a line.
    """

    def __init__(self, person: pwd.struct_passwd, hub: "int | None", owners: str = OWNERS) -> None:
        self._person = person
        self._hub = hub
        self._owners = owners

    def _listed(self, uid: int) -> bool:
        with contextlib.suppress(OSError, KeyError, UnicodeDecodeError), open(self._owners) as file:
            status = os.fstat(file.fileno())
            if status.st_uid == 0 and not status.st_mode & 0o022:
                return pwd.getpwuid(uid).pw_name in file.read().split()
        return False

    def _owner(self, uid: int) -> bool:
        if uid == 0:
            return True
        return uid not in (self._person.pw_uid, self._hub) and (uid < FIRST_PERSON or self._listed(uid))

    def _group(self, gid: int) -> bool:
        """Tell whether what this group may write is safe: a system group without the person and the hub."""
        if gid == 0:
            return True
        members = {os.getgid(), *os.getgroups()}
        if self._hub is not None:
            hub = pwd.getpwuid(self._hub)
            members.update(os.getgrouplist(hub.pw_name, hub.pw_gid))
        return gid < FIRST_PERSON and gid not in members

    def _step(self, path: bytes) -> None:
        status = os.lstat(path)
        mode = status.st_mode
        # Links have no mode of their own. In a sticky folder of root nobody can replace what is another's.
        closed = stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX and status.st_uid == 0)
        if not closed:
            closed = not mode & 0o002 and (not mode & 0o020 or self._group(status.st_gid))
        if not closed or not self._owner(status.st_uid):
            raise RefusedError(
                "command-unsafe",
                "{} can be changed by somebody who is no administrator, so nothing is run from there: it "
                "must belong to root or to Grid Engine's account, and nobody else may write to it.".format(
                    path.decode(errors="replace")
                ),
            )

    def _walk(self, path: bytes) -> None:
        done, todo, links = b"/", path.split(b"/"), 0
        self._step(done)
        while todo:
            part = todo.pop(0)
            here = os.path.join(done, part)
            if part == b"..":
                done = os.path.dirname(done)
            elif part not in (b"", b"."):
                self._step(here)
                if os.path.islink(here):
                    links += 1
                    target = os.readlink(here) if links <= MAX_LINKS else b""
                    todo[:0] = target.split(b"/")
                    done = b"/" if target.startswith(b"/") else done
                else:
                    done = here

    def require(self, path: str) -> None:
        """Check every folder, link and file on the way to `path`; raise RefusedError("command-unsafe")."""
        try:
            os.stat(path.encode() if path.startswith("/") else b"")  # a relative one depends on where we stand
            self._walk(path.encode())
        except (OSError, KeyError) as error:
            reason = getattr(error, "strerror", None) or "the hub's account is unknown"
            raise RefusedError(
                "command-unsafe", "{!r} cannot be used on this host: {}.".format(path, reason)
            ) from None


# --- The person's folder ----------------------------------------------------------------------------------


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _disk_error(error: OSError, folder: str, home: str) -> RefusedError:
    """Say in one sentence what the person has to mend."""
    inside = folder == home or folder.startswith(home.rstrip("/") + "/")
    place = "Your home folder" if inside else "The folder " + folder
    where = home if inside else folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "is full (quota)" if error.errno == errno.EDQUOT else "is on a full disk"
        return RefusedError("home-full", "{} {}: delete files in {}, then start again.".format(place, what, where))
    reason = os.strerror(error.errno or errno.EIO)
    return RefusedError(
        "home-not-writable",
        "{} cannot be written to on this host ({}: {}): make it writable for yourself, or ask your "
        "administrator.".format(place, where, reason),
    )


def _require_home(home: str) -> None:
    try:
        os.stat(_bytes(home) + b"/.")  # not a file, and mounted if it is mounted on demand
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise _disk_error(error, home, home) from None
        raise RefusedError(
            "home-missing",
            "The home folder {} does not exist on this host: ask your administrator to create it.".format(home),
        ) from None


class Folder:
    """The person's folder of secrets (run/) and logs (log/), 0700.

    Held open, so that nothing can be put in between a check and what follows.
    """

    def __init__(self, path: str, home: str, *, create: bool) -> None:
        self.path = path
        self.home = home
        self._create = create
        if path == home:
            raise RefusedError("folder-unsafe", "{} is a home, no folder for secrets and logs.".format(path))
        if create:
            _require_home(home)
            try:
                os.makedirs(_bytes(path), mode=0o700, exist_ok=True)
            except FileExistsError:
                raise self._unsafe(path) from None
        top = self._open(_bytes(path), None)
        self.run = self._open(b"run", top)
        self.log = self._open(b"log", top)

    @staticmethod
    def _unsafe(path: str) -> RefusedError:
        return RefusedError(
            "folder-unsafe",
            "{} must be a folder of your own, not a link and not somebody else's: move it away.".format(path),
        )

    def _open(self, name: bytes, parent: "int | None") -> int:
        path = name.decode() if parent is None else self.path + "/" + name.decode()
        try:
            if self._create and parent is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, mode=0o700, dir_fd=parent)
            descriptor = os.open(name, FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise self._unsafe(path) from None
            raise
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid():
            raise self._unsafe(path)
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
        return descriptor

    def write(self, tag: str, launch: object) -> None:
        """Write run/<tag>.json, and the empty log that Grid Engine will append to."""
        log = tag + ".log"
        os.close(os.open(log, CREATE, 0o600, dir_fd=self.log))
        try:
            self.replace(tag, launch)
        except OSError:
            self.remove(log, self.log)
            raise

    def replace(self, tag: str, launch: object) -> None:
        """Write run/<tag>.json in one step, also in the place of another one."""
        draft, data = ".%s.%d" % (tag, os.getpid()), json.dumps(launch).encode()
        descriptor = os.open(draft, CREATE, 0o600, dir_fd=self.run)
        try:
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            finally:
                os.close(descriptor)  # where NFS says that the quota is reached
            os.rename(draft, tag + ".json", src_dir_fd=self.run, dst_dir_fd=self.run)
        except OSError:
            self.remove(draft, self.run)
            raise

    @staticmethod
    def remove(name: str, place: int) -> bool:
        """Remove a file of `place`; tell whether it was there."""
        try:
            os.unlink(name, dir_fd=place)
        except FileNotFoundError:
            return False
        return True

    def retain(self, count: int) -> None:
        """Keep the newest `count` logs, and those of sessions that have not started.

        Grid Engine would make those anew, for everybody to read.
        """
        ages = []
        for name in os.listdir(self.log):
            tag, dot, ending = name.partition(".")
            if TAG.match(tag) and dot + ending == ".log":
                try:
                    ages.append((os.stat(name, dir_fd=self.log, follow_symlinks=False).st_mtime, tag))
                except FileNotFoundError:
                    continue
        waiting = {name.partition(".")[0] for name in os.listdir(self.run)}
        for _, tag in sorted(ages, reverse=True)[count:]:
            if tag not in waiting:
                self.remove(tag + ".log", self.log)

    def tail(self, tag: str, lines: int) -> "str | None":
        """Return the last lines of a log, of at most 64 KiB; None when there is none."""
        try:
            descriptor = os.open(
                tag + ".log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.log
            )
        except FileNotFoundError:
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        text = os.pread(descriptor, MAX_TAIL, max(0, status.st_size - MAX_TAIL)).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


# --- Running qsub and qdel --------------------------------------------------------------------------------


class Wakeup:
    """Turns signals into bytes of a pipe, so that one poll(2) waits for everything."""

    def __init__(self) -> None:
        self.read, write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def asked_to_end(self) -> bool:
        """Tell whether a signal other than SIGCHLD has arrived since the last call."""
        try:
            return bool(set(os.read(self.read, 4096)) - {signal.SIGCHLD})
        except BlockingIOError:
            return False


def _become(argv: "list[bytes]", environment: "dict[bytes, bytes]", ends: "list[int]", seconds: float) -> None:
    """Turn the forked child into the command. Never returns."""
    try:
        os.setsid()
        for target, end in enumerate(ends):
            os.dup2(end, target)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        # Survives execve(2): ends the command even if this program is killed before it can.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        os.execve(argv[0], argv, environment)  # noqa: S606 - an argument list and no shell is the point
    except OSError as error:
        os.write(2, b"%s cannot be run: %s\n" % (argv[0], os.strerror(error.errno or 0).encode()))
    finally:
        os._exit(127)


class Command:
    """One child, its three pipes and its deadline."""

    def __init__(
        self, argv: "list[str]", environment: "dict[str, str]", text: str, until: float, wake: Wakeup
    ) -> None:
        self._text = text.encode()
        self._until = until
        self._wake = wake
        self._ended = False  # by us, so that its outcome is unknown
        pipes = [os.pipe() for _ in range(3)]
        ends = [pipes[0][0], pipes[1][1], pipes[2][1]]
        seconds = max(0.1, until - time.monotonic()) + 2 * GRACE_SECONDS
        self._pid = os.fork()
        if self._pid == 0:
            _become(
                [word.encode() for word in argv],
                {name.encode(): _bytes(value) for name, value in environment.items()},
                ends,
                seconds,
            )
        for end in ends:
            os.close(end)
        self._input = pipes[0][1]
        self._outputs = {pipes[1][0]: b"", pipes[2][0]: b""}
        self._poll = select.poll()
        self._poll.register(wake.read, select.POLLIN)
        for end in (self._input, *self._outputs):
            os.set_blocking(end, False)
            self._poll.register(end, select.POLLOUT if end == self._input else select.POLLIN)

    def _feed(self) -> None:
        try:
            self._text = self._text[os.write(self._input, self._text) if self._text else 0 :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._text = b""
        if not self._text:
            self._poll.unregister(self._input)
            os.close(self._input)
            self._input = -1

    def _drain(self, end: int) -> bool:
        """Read one piece; tell whether there may be more."""
        piece = b""
        with contextlib.suppress(BlockingIOError):
            piece = os.read(end, 1 << 16)
            if not piece:
                with contextlib.suppress(KeyError):  # already unregistered
                    self._poll.unregister(end)
        self._outputs[end] = (self._outputs[end] + piece)[:MAX_REQUEST]
        return bool(piece)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:  # not yet a group of its own
                os.kill(self._pid, number)

    def _hasten(self) -> None:
        """At the deadline: TERM, then KILL half a second later."""
        self._signal(signal.SIGKILL if self._ended else signal.SIGTERM)
        self._ended = True
        self._until = time.monotonic() + GRACE_SECONDS

    def run(self) -> "Request":
        """Return {"exit", "stdout", "stderr", "timeout"}; what a signal has ended counts as timed out."""
        pid, status = 0, 0
        while not pid:
            left = self._until - time.monotonic()
            if left <= 0:
                self._hasten()
                continue
            for end, _ in self._poll.poll(int(left * 1000) + 1):
                if end == self._input:
                    self._feed()
                elif end in self._outputs:
                    self._drain(end)
                elif self._wake.asked_to_end() and not self._ended:
                    self._hasten()
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)  # what the command may have left behind
        for end in self._outputs:
            for _ in range(MAX_REQUEST >> 16):
                if not self._drain(end):
                    break
        known = os.WIFEXITED(status) and not self._ended
        out, err = (data.decode("utf-8", "replace") for data in self._outputs.values())
        exit_code = os.WEXITSTATUS(status) if known else None
        return {"exit": exit_code, "stdout": out, "stderr": err, "timeout": not known}


# --- Verbs ------------------------------------------------------------------------------------------------


def _require_no_waiting(home: str) -> None:
    """Refuse a default that no option undoes, neither -clear nor -sync n: a qsub that waits for its job.

    Measured with 8.1.9. Ended at the deadline, such a qsub would even delete the job.
    """
    path = home + "/.sge_request"
    with contextlib.suppress(OSError):
        with open(os.open(_bytes(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            text = file.read(MAX_TAIL).decode("utf-8", "replace")
        if WAITING.search(text):
            raise RefusedError(
                "folder-unsafe",
                "Your file {} has the option -sync y, with which qsub waits for the end of every job: remove it, "
                "then start again.".format(path),
            )


def _directives(script: str) -> "list[str]":
    """Return the options in the script's "#$" lines, as qsub(1) reads them."""
    lines = [line[2:].strip() for line in script.split("\n") if line.startswith("#$")]
    if set(lines) <= {"", "-clear"}:  # what the hub's own script has
        return []
    import shlex  # noqa: PLC0415 - start-up time that only a site's own script costs

    try:
        words = [word for line in lines for word in shlex.split(line) if word != "-clear"]
    except ValueError:
        raise _bad(
            'A line of the script that begins with "#$" has a quotation mark without its partner.'
        ) from None
    if "-jsv" in words:
        raise _bad('A line of the script that begins with "#$" has the option -jsv.')
    return words


class Person:
    """The account this program runs as, and everything a verb needs from outside."""

    def __init__(self, account: pwd.struct_passwd, trust: Trust, until: float, wake: Wakeup) -> None:
        self.account = account
        self.home = os.fsencode(account.pw_dir).decode("utf-8", "surrogateescape")
        self.trust = trust
        self.until = until
        self.wake = wake

    def run(self, request: "Request", name: str, words: "list[str]", text: str = "") -> "Request":
        """Run qsub or qdel of the request's cluster, once every file that decides what it does is known safe."""
        cluster = request["cluster"]
        command = os.path.join(cluster["bin"], name)
        for path in (command, self._common(cluster)):
            self.trust.require(path)
        account = self.account.pw_name
        environment = dict(cluster["environment"])
        environment.update(HOME=self.home, USER=account, LOGNAME=account, PATH="/usr/bin:/bin", LC_ALL="C")
        if self.wake.asked_to_end():
            return {"exit": None, "stdout": "", "stderr": "", "timeout": True}
        return Command([command, *words], environment, text, self.until, self.wake).run()

    @staticmethod
    def _common(cluster: "Request") -> str:
        settings = cluster["environment"]
        return os.path.join(settings["SGE_ROOT"], settings.get("SGE_CELL", "default"), "common")

    def qsub(self, request: "Request", *more: str) -> "Request":
        """Run qsub with the site's defaults, the script's "#$" lines and the request's options, and nobody else's.

        -jsv names a program that qsub runs on this host (jsv(1)), and it may stand in ~/.sge_request, in the
        script, in any file of options. Whoever has the hub can have a job write all of these as the person. So
        -clear drops them (qsub(1)), what is wanted comes back as arguments, and files of options must be as
        safe as qsub itself.
        """
        defaults = os.path.join(self._common(request["cluster"]), "sge_request")
        words = ["-clear", *(["-@", defaults] if os.path.lexists(defaults) else [])]
        words += [*_directives(request["script"]), *request["options"], *more]
        for place, word in enumerate(words):
            if word == "-@":
                self.trust.require(words[place + 1] if place + 1 < len(words) else "")
        return self.run(request, "qsub", words, request["script"])

    def folder(self, request: "Request", *, create: bool = False) -> Folder:
        """Open the request's folder."""
        return Folder(request["folder"], self.home, create=create)


def is_refusal(answer: "Request") -> bool:
    """Tell whether qsub has said, with an exit status of its own, that there is no job."""
    status, out, err = answer["exit"], answer["stdout"], answer["stderr"]
    if not status or status >= SIGNALLED or TRANSPORT.search(err + out):
        return False
    return WITHDRAWN in err or not NUMBER.search(out)


def submit(person: Person, request: "Request") -> "Request":
    """Write the launch file and the empty log, run qsub; if there is no job for certain, remove both.

    Fields: cluster, folder, tag, options, script, launch, keep_logs (10). Where qsub may have queued the job both
    files stay: the hub looks for the job, and discards its secrets once it is certain that there is none.
    """
    tag = request["tag"]
    _require_no_waiting(person.home)
    try:
        folder = person.folder(request, create=True)
        folder.write(tag, request["launch"])
        folder.retain(request["keep_logs"])
    except FileExistsError:
        raise _bad("The tag {} has been used before.".format(tag)) from None
    except OSError as error:
        raise _disk_error(error, request["folder"], person.home) from None
    certain = True  # as long as qsub was not run
    try:
        answer = person.qsub(request)
        certain = is_refusal(answer)
    finally:
        if certain:
            folder.remove(tag + ".json", folder.run)
            folder.remove(tag + ".log", folder.log)
    return answer


def launch(person: Person, request: "Request") -> "Request":
    """Write the launch file of a job that Grid Engine runs again; return {"written": True}.

    Fields: folder, tag, launch. The job's first run has removed the file that `submit` had written.
    """
    try:
        person.folder(request, create=True).replace(request["tag"], request["launch"])
    except OSError as error:
        raise _disk_error(error, request["folder"], person.home) from None
    return {"written": True}


def verify(person: Person, request: "Request") -> "Request":
    """Ask qsub whether the job could start now (mode p) or ever (mode v), without submitting it.

    Fields: cluster, options, script, mode. See -w in qsub(1).
    """
    _require_home(person.home)
    return person.qsub(request, "-w", request["mode"])


def cancel(person: Person, request: "Request") -> "Request":
    """Delete one job. Fields: cluster, job."""
    return person.run(request, "qdel", [str(request["job"])])


def _existing(person: Person, request: "Request") -> "Folder | None":
    try:
        return person.folder(request)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _disk_error(error, request["folder"], person.home) from None


def tail(person: Person, request: "Request") -> "Request":
    """Return {"text": last lines of the job's log, or None}. Fields: folder, tag, lines."""
    folder = _existing(person, request)
    try:
        return {"text": None if folder is None else folder.tail(request["tag"], request["lines"])}
    except OSError as error:
        raise _disk_error(error, request["folder"], person.home) from None


def discard(person: Person, request: "Request") -> "Request":
    """Remove the launch file; return {"discarded": whether it was there}. Fields: folder, tag."""
    folder = _existing(person, request)
    try:
        return {"discarded": folder is not None and folder.remove(request["tag"] + ".json", folder.run)}
    except OSError as error:
        raise _disk_error(error, request["folder"], person.home) from None


# verb: function, required fields, optional fields with their defaults
VERBS: "Dict[str, Tuple[Callable[[Person, Request], Request], Set[str], Request]]" = {
    "submit": (submit, {"cluster", "folder", "tag", "options", "script", "launch"}, {"keep_logs": 10}),
    "verify": (verify, {"cluster", "options", "script", "mode"}, {}),
    "cancel": (cancel, {"cluster", "job"}, {}),
    "tail": (tail, {"folder", "tag", "lines"}, {}),
    "discard": (discard, {"folder", "tag"}, {}),
    "launch": (launch, {"folder", "tag", "launch"}, {}),
}


def seconds_left(expires: "float | None") -> float:
    """Return the seconds until a request expires, by a clock that nobody sets; refuse one that has expired.

    sudo may take long before it runs this program, and the hub may have been killed meanwhile: the next one must
    know when nothing of an old request can happen any more.
    """
    if expires is None:
        return float("inf")
    left = expires - time.clock_gettime(BOOTTIME)
    if left <= 0:
        raise _bad(
            "The request has expired before sudo ran it: try again. If that happens often, an administrator has to"
            " see why sudo is so slow on the hub's machine."
        )
    return left


def serve(caller: "str | None", wake: Wakeup) -> "Request":
    """Read the request on stdin and do it. `caller` is the user id that sudo(8) names in SUDO_UID."""
    if 0 in (os.getuid(), os.geteuid()):
        raise RefusedError("root", "sgehub-as-user runs as a person, never as root.")
    request = check_request(read_request(0, time.monotonic() + READ_SECONDS))
    until = time.monotonic() + min(request["deadline"], seconds_left(request["expires"]))
    # The default action of SIGALRM: ends us even while a dead file server keeps us waiting.
    signal.setitimer(signal.ITIMER_REAL, max(0.1, until - time.monotonic()) + 4 * GRACE_SECONDS)
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        raise _bad("The account {} is not known on this host.".format(os.getuid())) from None
    hub = int(caller) if caller and caller.isdigit() else None
    return VERBS[request["verb"]][0](Person(account, Trust(account, hub), until, wake), request)


def main() -> int:
    """Serve one request; return the exit status."""
    os.umask(0o077)
    os.chdir("/")  # qsub reads a .sge_request where it stands, and the caller chose where we stand
    try:
        answer, status = serve(os.environ.get("SUDO_UID"), Wakeup()), 0
    except RefusedError as error:
        answer, status = {"refused": {"why": error.why, "message": error.message}}, 3
    data = json.dumps(answer).encode() + b"\n"
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:  # nobody waits for the answer any more
        pass
    return status


if __name__ == "__main__":
    sys.exit(main())
