"""Many people with many servers: real requests to a hub, with bounded concurrency."""

from __future__ import annotations

import http
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from client import Client, MeasurementError

AT_ONCE = 4
_PAGE = 200  # the most that JupyterHub gives at once
_TAKEN = (http.HTTPStatus.CREATED, http.HTTPStatus.ACCEPTED)


class Crowd:
    """The people of a cluster, who start `each` named servers one after the other, everybody in turn."""

    def __init__(self, client: Client, people: Sequence[str], each: int) -> None:
        self.client = client
        self.people = people
        self._left = [(person, f"s{number}") for number in range(each) for person in people]
        self.started: list[tuple[str, str]] = []

    def enter(self) -> None:
        """Make all people known to the hub."""
        status, body = self.client.call("POST", "/users", {"usernames": list(self.people)})
        if status != http.HTTPStatus.CREATED:
            raise MeasurementError(f"The people could not be made known to a hub: {status} {body}")

    def start(self, count: int, options: dict[str, Any]) -> None:
        """Start servers until there are `count` in all; returns when the hub has taken all requests."""
        more = max(0, count - len(self.started))
        some, self._left = self._left[:more], self._left[more:]
        self._post(some, options)
        self.started += some

    def again(self, options: dict[str, Any]) -> int:
        """Start those anew whose start has failed, as the hub says; return how many these were."""
        there = {server["url"] for server in self.servers()}
        failed = [one for one in self.started if "/user/{}/{}/".format(*one) not in there]
        self._post(failed, options)
        return len(failed)

    def _post(self, sessions: Sequence[tuple[str, str]], options: dict[str, Any]) -> None:
        def post(session: tuple[str, str]) -> None:
            person, server = session
            status, body = self.client.call("POST", f"/users/{person}/servers/{server}", options)
            if status not in _TAKEN:
                raise MeasurementError(f"The start of {person}/{server} was answered with {status}: {body}")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(post, sessions))

    def servers(self) -> Iterator[dict[str, Any]]:
        """Yield the hub's models of all servers that are there."""
        for offset in range(0, len(self.people), _PAGE):
            status, body = self.client.call("GET", f"/users?limit={_PAGE}&offset={offset}")
            if status != http.HTTPStatus.OK:
                raise OSError(f"The list of users was answered with {status}.")
            for user in body:
                yield from user["servers"].values()

    def ready(self) -> int:
        """Return how many servers are ready, as the hub says."""
        return sum(1 for server in self.servers() if server["ready"])

    def unreachable(self) -> list[tuple[str, str]]:
        """Return the sessions whose server does not answer through the proxy."""

        def answers(session: tuple[str, str]) -> bool:
            try:
                return self.client.reaches("/user/{}/{}/api".format(*session))
            except OSError:
                return False

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [
                one for one, good in zip(self.started, pool.map(answers, self.started), strict=True) if not good
            ]


def wait_until(done: Callable[[], bool], what: str, seconds: float, pause: float = 1.0) -> float:
    """Return the seconds it took until `done`; MeasurementError with `what` after too many."""
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > seconds:
            raise MeasurementError(f"Not within {seconds:.0f} s: {what}.")
        time.sleep(pause)
    return time.monotonic() - begun
