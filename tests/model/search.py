"""Searching for a history that breaks a law: the same histories for the same seed, anywhere."""

from __future__ import annotations

import logging
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import bugs, laws, machine


@dataclass(frozen=True)
class Found:
    """The end of a search: how many histories there were, and the first that broke a law, "" if none did."""

    histories: int
    breach: str = ""


def search(histories: int, number: int, bug: str | None = None, *, shrink: bool = False) -> Found:
    """Play so many histories made from a seed, with a bug planted or not, until a law is broken."""
    counted = 0

    class Counted(machine.Histories):
        def __init__(self) -> None:
            nonlocal counted
            counted += 1
            super().__init__()

    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    chosen = settings(
        max_examples=histories,
        stateful_step_count=machine.STEPS,
        phases=phases,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    logging.disable(logging.CRITICAL)
    try:
        with bugs.planted(bug) if bug else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a killed hub leaves half done is not worth a word
            run_state_machine_as_test(seed(number)(Counted), settings=chosen)
    except laws.BrokenLaw as error:
        return Found(counted, "\n".join([str(error), *getattr(error, "__notes__", ())]))
    finally:
        logging.disable(logging.NOTSET)
    return Found(counted)
