"""Why a start did not happen, in the shapes that JupyterHub shows to people.

JupyterHub reads `jupyterhub_message` (text) and `jupyterhub_html_message` from any exception, and logs no
traceback for a SpawnException. Everything in the HTML is escaped here, log lines included.
"""

from __future__ import annotations

from html import escape
from typing import Final

from jupyterhub.spawner import SpawnException

from sgehub.errors import (
    AccountError,
    ClusterError,
    RequestRefusedError,
    SiteConfigurationError,
    SubmissionRefusedError,
    Violation,
)


class RequestRefused(SpawnException):  # type: ignore[misc] # JupyterHub is untyped
    """The request is not allowed: 400, with every reason. `violations` places them beside the fields."""

    def __init__(self, error: RequestRefusedError) -> None:
        self.violations: tuple[Violation, ...] = error.violations
        self.jupyterhub_message = str(error)
        self.jupyterhub_html_message = "<br>".join(escape(one.message) for one in error.violations)
        super().__init__(str(error), reason="request")


class StartFailed(SpawnException):  # type: ignore[misc] # JupyterHub is untyped
    """The session could not start: a sentence that says why, and the last lines of the job's log."""

    def __init__(self, message: str, *, reason: str, log: str = "", status_code: int = 500) -> None:
        self.why = message
        self.jupyterhub_message = f"{message}\n{log}".rstrip()
        self.jupyterhub_html_message = escape(message)
        if log:
            self.jupyterhub_html_message += f'<pre class="job-log text-start">{escape(log)}</pre>'
        super().__init__(message, reason=reason, log_message=message, status_code=status_code)


class LinkOpened(Exception):  # noqa: N818 - a notice, by which the hub shows the form instead of starting
    """A link fills the form and starts nothing: not an HTTPError, so that the form comes with status 200."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.jupyterhub_message = message
        # The page tells a notice from an error by this class.
        self.jupyterhub_html_message = f'<span class="sgehub-notice">{escape(message)}</span>' if message else ""


def as_failure(error: Exception) -> StartFailed:
    """Translate what ended a start into what JupyterHub shows to people."""
    if isinstance(error, StartFailed):
        return error
    if isinstance(error, SubmissionRefusedError):
        return StartFailed(f"Grid Engine refuses this request: {error}", reason="refused", status_code=400)
    reason, status = next((found for kind, found in _REASONS.items() if isinstance(error, kind)), ("hub", 500))
    return StartFailed(str(error), reason=reason, status_code=status)


_REASONS: Final[dict[type[Exception], tuple[str, int]]] = {
    RequestRefusedError: ("refused", 400),  # by a site's file that has changed since the request was accepted
    AccountError: ("account", 403),
    SiteConfigurationError: ("site", 500),
    ClusterError: ("cluster", 503),
}
