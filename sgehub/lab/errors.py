"""The lab's one error: what stands in its way, in a sentence. It knows nothing else."""

from __future__ import annotations

from sgehub.errors import SgehubError


class LabError(SgehubError):
    """The lab cannot do what was asked; the message says what is needed or what went wrong."""
