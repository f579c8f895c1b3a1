"""What a session's choices mean for its server: the page it opens with, its folder, its container, its job script.

The law of this file: it reads an accepted request and the site's own words, and knows nothing of jobs. What a
person typed (a folder) goes into the launch file only, never into the script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.sitechoices import EnvironmentSite
from sgehub.script import JobScript, render_job_script

NONE = EnvironmentSite()


def chosen(policy: SitePolicy, options: Mapping[str, Any]) -> EnvironmentSite:
    """Return the environment that a request names, or the site's first; an empty one where there is none (now)."""
    name = options.get("environment") or next(iter(policy.environments), "")
    return policy.environments.get(name, NONE)


def variables(policy: SitePolicy, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what JupyterHub's own server reads: the page that it opens with, and its folder.

    The page is that of the interface that was chosen, else the environment's own, else the first interface's.
    A folder of the home begins with "~": the session knows where that is.
    """
    found = {}
    if url := _page(policy, options):
        found["JUPYTERHUB_DEFAULT_URL"] = url
    folder = options.get("folder")
    if isinstance(folder, str) and folder:
        below = folder.removeprefix("~").lstrip("/")
        found["JUPYTERHUB_ROOT_DIR"] = folder if folder.startswith("/") else f"~/{below}"
    return found


def command(policy: SitePolicy, options: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """Return the server's command inside the environment's container, or as it is."""
    return [*chosen(policy, options).container, *words]


def job_script(
    policy: SitePolicy,
    request: ResourceRequest,
    *,
    home: str,
    launch_file: str,
    prologue: str = "",
    epilogue: str = "",
) -> JobScript:
    """Return what the job script is made of: the site's lines, the environment's, then those that are given."""
    session, environment = policy.session, chosen(policy, request.as_options())
    return JobScript(
        home=home,
        python=f"{session.folder}/python",
        program=f"{session.folder}/sgehub-session",
        launch_file=launch_file,
        path=[*environment.path, *session.path],
        modules=environment.modules,
        conda=environment.conda,
        prologue=_lines(session.prologue, environment.prologue, prologue),
        epilogue=_lines(epilogue, environment.epilogue, session.epilogue),
    )


def rendered(policy: SitePolicy, environment: str | None) -> str:
    """Return the job script of an environment as it would be for somebody. Raises SiteConfigurationError."""
    request = policy.defaults.model_copy(update={"environment": environment})
    job = job_script(policy, request, home="/home/person", launch_file="/home/person/.sgehub/run/0.json")
    return render_job_script(job, [Path(folder) for folder in policy.template_folders])


def _page(policy: SitePolicy, options: Mapping[str, Any]) -> str | None:
    interface = policy.interfaces.get(options.get("interface") or "")
    if interface is None:
        own = chosen(policy, options).default_url
        return own or next((one.url for one in policy.interfaces.values()), None)
    return interface.url


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
