"""A person at the hub's web pages and REST API: cookies, XSRF and tokens as a browser and a script have them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any

TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, whatever its status."""

    status: int
    text: str
    url: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Person:
    """Log in, send forms as a browser does, call the REST API with a token."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url.rstrip("/")
        self.name = name
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self._strict = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), _NoRedirect())
        self.token = ""

    def open(
        self,
        path: str,
        data: bytes | None = None,
        *,
        redirect: bool = True,
        method: str | None = None,
        **headers: str,
    ) -> Answer:
        """Fetch a page with the person's cookies."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        address = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(address, data=data, headers=names, method=method)
        opener = self._opener if redirect else self._strict
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return Answer(answer.status, answer.read().decode(errors="replace"), answer.url)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(errors="replace"), error.url)

    def xsrf(self, path: str = "/hub/") -> str:
        """Return the XSRF token that belongs to a path."""
        found = [cookie for cookie in self.jar if cookie.name == "_xsrf" and path.startswith(cookie.path)]
        return max(found, key=lambda cookie: len(cookie.path)).value or ""

    def log_in(self) -> Person:
        """Log in by the form; the password is the name. Makes a token for the REST API as well."""
        self.open("/hub/login")
        form = {"username": self.name, "password": self.name, "_xsrf": self.xsrf()}
        answer = self.open("/hub/login", urllib.parse.urlencode(form).encode())
        assert answer.status == 200, answer.text[:500]
        self.open("/hub/home")
        made = self.open(
            f"/hub/api/users/{self.name}/tokens",
            b"{}",
            X_XSRFToken=self.xsrf(),
            Content_Type="application/json",
            Referer=f"{self.url}/hub/home",
        )
        self.token = made.json["token"]
        return self

    def post_form(self, values: dict[str, str], server: str = "") -> Answer:
        """Submit the options form."""
        path = f"/hub/spawn/{self.name}/{server}" if server else "/hub/spawn"
        self.open(path)
        data = urllib.parse.urlencode({**values, "_xsrf": self.xsrf()}).encode()
        return self.open(path, data, redirect=False)

    def api(
        self, method: str, path: str, body: object = None, token: str | None = None, raw: bytes | None = None
    ) -> Answer:
        """Call the REST API with the person's token (or another one), without cookies."""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(
            f"{self.url}/hub/api{path}",
            data=data,
            method=method,
            headers={"Authorization": f"token {token or self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return Answer(answer.status, answer.read().decode(), answer.url)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(errors="replace"), error.url)

    def server_path(self, server: str = "") -> str:
        """Return the REST address of a server."""
        return f"/users/{self.name}/servers/{server}" if server else f"/users/{self.name}/server"

    def start(self, options: object = None, server: str = "") -> Answer:
        """Start a server over REST."""
        return self.api("POST", self.server_path(server), None if options is None else {"user_options": options})

    def stop(self, server: str = "") -> Answer:
        """Stop a server over REST."""
        return self.api("DELETE", self.server_path(server))

    def model(self, server: str = "") -> dict[str, Any]:
        """Return the server's model, {} when it is not running."""
        found: dict[str, Any] = self.api("GET", f"/users/{self.name}").json["servers"].get(server, {})
        return found

    def wait_until(self, *, ready: bool, server: str = "", seconds: float = 40.0) -> dict[str, Any]:
        """Wait for the server to be ready, or to be neither ready nor pending."""
        until = time.monotonic() + seconds
        while True:
            model = self.model(server)
            if ready and model.get("ready"):
                return model
            if not ready and not model.get("ready") and not model.get("pending"):
                return model
            if time.monotonic() > until:
                raise AssertionError(f"{self.name}'s server is not {'ready' if ready else 'gone'}: {model}")
            time.sleep(0.1)

    def progress(self, server: str = "", seconds: float = 60.0) -> list[dict[str, Any]]:
        """Return the events of the progress stream, to its end."""
        request = urllib.request.Request(
            f"{self.url}/hub/api{self.server_path(server)}/progress",
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=seconds) as stream:
            return [json.loads(line[6:]) for line in stream if line.startswith(b"data: ")]
