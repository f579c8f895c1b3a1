"""Whether bash can read the site's own lines, and the job scripts that they become part of.

The law of this file: `bash -n` reads and runs nothing. What is right at this point may still fail on a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sgehub.errors import ClusterError, SiteConfigurationError
from sgehub.gridengine.runner import Runner
from sgehub.hub.surroundings import rendered
from sgehub.model.policy import SitePolicy

BASH: Final = "/bin/bash"  # what qsub -S names
TIMEOUT: Final = 10.0  # seconds
_MISTAKE: Final = re.compile(r"line ([0-9]+): (.*)")

Mistake = tuple[tuple[str, ...], str]  # a key's path, and a sentence


async def mistakes(policy: SitePolicy, runner: Runner | None = None) -> tuple[Mistake, ...]:
    """Return what bash cannot read: each fragment by itself, and the scripts where all fragments are well."""
    runner = runner or Runner()
    found = [(path, said) for path, text in _fragments(policy) if (said := await _unreadable(text, runner))]
    if found:
        return tuple(found)
    for name in policy.environments or (None,):
        try:
            script = rendered(policy, name)
        except SiteConfigurationError:
            continue  # `sitecheck.render` says it
        if said := await _unreadable(script, runner):
            found.append((("template_folders",), f"the job script{f' of {name}' if name else ''}: {said}"))
    return tuple(found)


def _fragments(policy: SitePolicy) -> Iterator[tuple[tuple[str, ...], str]]:
    for key in ("prologue", "epilogue"):
        yield ("session", key), getattr(policy.session, key)
        for name, one in policy.environments.items():
            yield ("environments", name, key), getattr(one, key)


async def _unreadable(text: str, runner: Runner) -> str:
    """Return bash's first complaint about a text as a sentence, "" if it has none."""
    if not text:
        return ""
    try:
        done = await runner.run([BASH, "-n"], timeout=TIMEOUT, stdin=text.encode())
    except ClusterError as error:
        return f"bash cannot be asked: {error}"
    first = _MISTAKE.search(done.stderr.decode(errors="replace"))
    if first is not None:
        return f"bash cannot read line {first[1]} of it: {first[2].rstrip('.')}."
    return "" if done.exit == 0 else f"bash cannot read it (exit code {done.exit})."
