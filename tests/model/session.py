"""What runs inside a job: it starts a server, tells the hub its port again and again, and says when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.model.cluster import Cluster, Live

SERVER_START: Final = 1.0  # seconds until the server listens
PAUSES: Final = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)  # seconds between reports that nobody took
REFUSED: Final = 60.0  # seconds until a session that the hub has known before asks a hub that refuses it again
PATIENCE: Final = 180  # looks, a second each, for the launch file of another run
OVERLAP, NEWER = 5.0, 60.0  # seconds from when, and until when, a refused run looks for a newer launch file
REFUSALS: Final = 3  # of a run that is not the first, until it gives up
DISOWNED = 5.0  # seconds between looks for a newer launch file of a run that was accepted and is refused now
KEEPALIVE: Final = 120.0  # seconds after which a kernel gives a silent connection up


class Session:
    """One run of one job of ours."""

    def __init__(self, cluster: Cluster, job: Live) -> None:
        self._cluster, self.job = cluster, job
        self.launch: Any = None
        self.port = 20000 + 10 * (job.number % 900) + job.runs
        self.serving = False  # the server listens
        self.over = False
        self.since = 0.0  # when it was last able to begin to answer
        self.code = 137  # its exit code, once it is over
        self.accepted = False
        self.disowned = False  # accepted before, and refused the last time
        self.line: Connection | None = None
        self._reporting = False
        self._tries = 0
        self._waits = 0
        self._refusals = 0

    @property
    def address(self) -> str:
        """Where its server listens."""
        return f"http://{self.job.host}:{self.port}"

    @property
    def awake(self) -> bool:
        """Whether its processes run and reach the hub."""
        job = self.job
        host = self._cluster.hosts[job.host] if job.host else None
        return (
            not self.over and not job.over and "s" not in job.letters and host is not None and host.state == "up"
        )

    def begin(self) -> None:
        """Read the launch file and start the server."""
        if self.over or self.job.over:
            return
        self.launch = self.job.launch
        if self.launch is None:  # another run: the hub may write the file anew in a moment
            self._waits += 1
            if self._waits > PATIENCE:
                self._cluster.observer.launch_missed(self.job)
                self._cluster.ended(self.job, 1)
            else:
                self._cluster.after(1.0, self.begin)
            return
        self._cluster.after(SERVER_START, self.listen)

    def listen(self) -> None:
        """Let the server listen, and report its port."""
        if self.over or self.job.over:
            return
        self.serving = True
        self.since = self._cluster.clock.now
        self.look()

    def wake(self) -> None:
        """Go on after a stop, or after a network that was cut."""
        self.since = self._cluster.clock.now
        self.look()

    def look(self) -> None:
        """Report the port unless a line is open that tells the hub."""
        if not self.awake or not self.serving or self.line is not None or self._reporting:
            return
        self._reporting = True
        launch = self.launch

        def answered(status: int | None) -> None:
            if launch is self.launch:  # else it began anew meanwhile
                self._answered(status)

        self._cluster.observer.report_port(self, self.port, answered)

    def _answered(self, status: int | None) -> None:
        self._reporting = False
        if self.over or self.job.over or not self.serving:
            return
        refused = status in (400, 403, 404, 409)
        known = not self.disowned
        if status is not None:
            self.disowned = refused and self.accepted
        if status == 200:
            self.accepted = True
            self._tries = 0
            if not self._replaced:  # a file that the hub has written since is left
                self.job.launch = None
            return
        if refused and (not self.accepted or self._replaced):
            self._refused(status)
            return
        if refused and known:
            self._look_whether_replaced(status)
        if refused and not (known and self.job.runs):  # else newer secrets may come in a moment
            self._cluster.observer.session_refused(self.job, status)
        self._again(REFUSED if refused else None)

    @property
    def _replaced(self) -> bool:
        """Whether the hub has written newer secrets for a run that began with those of the one before."""
        newer = self.job.launch
        return self.job.runs > 0 and newer is not None and newer is not self.launch

    def _look_whether_replaced(self, status: int) -> None:
        if not self.job.runs or not self.disowned or not self.serving or self.over or self.job.over:
            return
        if self.awake and self._replaced:
            self._refused(status)
        else:
            self._cluster.after(DISOWNED, lambda: self._look_whether_replaced(status))

    def _refused(self, status: int) -> None:
        """End, or begin once more with what the hub writes for this run: the secrets were those of one before."""
        self.serving = False
        self._refusals += 1
        if self.job.runs:
            until = self._cluster.clock.now + NEWER
            self._cluster.after(OVERLAP, lambda: self._look_for_newer(until, status))
        else:
            self._given_up(status)

    def _given_up(self, status: int) -> None:
        self._cluster.observer.session_refused(self.job, status)
        self.end(1)

    def _look_for_newer(self, until: float, status: int) -> None:
        if self.over or self.job.over:
            return
        newer = self.job.launch if self.job.launch is not self.launch else None
        late = self._cluster.clock.now > until
        if newer is None and late and self._refusals < REFUSALS:
            newer = self.launch  # once more: the hub may have been stopped meanwhile
        if newer is not None:
            self.launch = newer
            self.accepted = self.disowned = self._reporting = False
            self.port += 5
            self._cluster.after(SERVER_START, self.listen)
        elif late:
            self._given_up(status)
        else:
            self._cluster.after(1.0, lambda: self._look_for_newer(until, status))

    def _again(self, pause: float | None = None) -> None:
        if pause is None:
            pause = PAUSES[min(self._tries, len(PAUSES) - 1)]
            self._tries += 1
        self._cluster.after(pause, self.look)

    def opened(self, line: Connection) -> None:
        """Have a line to the hub."""
        self.line = line

    def line_broken(self) -> None:
        """Lose the line, because the hub has ended or has closed it."""
        if self.line is not None:
            self.line = None
            self._again()

    def _let_go(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.session_gone()

    def end(self, code: int) -> None:
        """End the server, tell the hub, then let the job end."""
        if self.over:
            return
        self.serving, self.code = False, code
        self.job.launch = None
        if self.awake:
            self._cluster.observer.report_end(self, code)
        self.over = True
        self._cluster.after(1.0, self._let_go)
        self._cluster.after(2.0, lambda: self._cluster.ended(self.job, code))

    def cut_off(self) -> None:
        """Lose the network: whoever waits on the line learns it when the kernel has tried for long enough."""
        line = self.line
        if line is not None:
            self._cluster.after(KEEPALIVE, lambda: None if self.awake else line.session_gone())

    def vanish(self, *, with_power: bool = False) -> None:
        """Stop being, without a word; without power not even the kernel closes connections."""
        self.serving = False
        self.over = True
        if with_power:
            self.cut_off()
        else:
            self._let_go()


class Connection:
    """A connection that the session keeps open as its line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.hub_hears: Callable[[], object] | None = None
        self.open = True

    def close(self) -> None:
        """Close it from the hub's side."""
        if self.open:
            self.open = False
            self._session.line_broken()

    def session_gone(self) -> None:
        """Close it from the session's side."""
        if self.open:
            self.open = False
            if self._session.line is self:
                self._session.line = None
            if self.hub_hears is not None:
                self.hub_hears()
