"""A spawner that says what a test wrote down, whatever its job does: how pages look with each sentence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sgehub.hub.spawner import SGESpawner


class TellingSpawner(SGESpawner):
    """Reads "told" of the paper cluster: {"person/server": {...}}.

    With "says" (a sentence), "ended" (what a spawner keeps), "pending" (JupyterHub's word) and "progress"
    (sentences that come before the spawner's own).
    """

    @property
    def says(self) -> str:
        return str(self._told("says") or super().says)

    @property
    def ended(self) -> Any:
        return self._told("ended") or self._ended_by_itself

    @ended.setter
    def ended(self, ended: Any) -> None:
        self._ended_by_itself = ended

    @property
    def pending(self) -> str | None:
        return self._told("pending") or super().pending

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        for sentence in self._told("progress") or ():
            yield {"progress": 20, "message": sentence}
        async for event in super().progress():
            yield event

    def _told(self, what: str) -> Any:
        papers = Path(self.site).with_name("told")
        told = json.loads(papers.read_text()) if papers.exists() else {}
        return told.get(f"{self.user.name}/{self.name}", {}).get(what)
