"""Why a job ended, in one sentence for its person, from its record in accounting(5).

The law of this file: it guesses from codes only what nobody has told, and says "probably" where it does.
"""

from __future__ import annotations

import signal
from typing import Final

from sgehub.model.job import LIMIT, Accounting
from sgehub.model.units import Duration, Memory

# The "failed" values of accounting(5), as sge_status(5) explains them, in words for the person.
_HOST_TROUBLE: Final = "The execution host had a problem and could not start it"
_RESCHEDULED: Final = "Grid Engine took it off its host to run it again"
_FAILURES: Final = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 11, 18, 20, 29, 38), _HOST_TROUBLE),
    **dict.fromkeys((7, 8), "The cluster's preparation of the job (prolog) failed"),
    **dict.fromkeys((9, 10), "The cluster's preparation of the parallel environment failed"),
    **dict.fromkeys((12, 13), "It ran, but the end procedure of the parallel environment failed"),
    **dict.fromkeys((14, 15, 16), "It ran, but the cluster's clean-up after it (epilog) failed"),
    **dict.fromkeys((19, 21), "Its execution host was lost, probably by a crash or a power cut"),
    **dict.fromkeys((24, 25), _RESCHEDULED),
    26: "Its log could not be opened: the home folder is full, missing or not writable on the execution host",
    27: "Its shell was not found on the execution host",
    28: "Its home folder could not be entered on the execution host",
    30: "The job asked Grid Engine to be put into the error state",
}
_AFTER_JOB: Final = (17, 100)  # it ran and was ended from outside: qdel, a limit
_KILLED: Final = 128 + signal.SIGKILL
_ANNOUNCED: Final = 128 + signal.SIGUSR2  # by -notify
_CRASHED: Final = {128 + 9, 128 + 6, 128 + 11}  # what programs die of when memory ends
_NOT_STARTED: Final = {126, 127}  # the shell's answers
_SIGNALS: Final = range(129, 128 + 32)
_NEAR: Final = 0.9  # of the memory: an allocation fails before the sum is full


def why_it_ended(accounting: Accounting, *, h_rt: int | None = None, memory_limit: int | None = None) -> str:
    """Say in one sentence why a job ended, as far as its record tells.

    `h_rt` is the runtime asked for (seconds), `memory_limit` the job's whole memory (bytes). `deleted_by`
    (Open Cluster Scheduler) is believed before anything is guessed from codes, except where it is the host's
    own daemon, which enforces limits; 8.1.9 does not tell a deletion from other ends by a signal.
    """
    failed, status, deleter = accounting.failed, accounting.exit_status, accounting.deleted_by or ""
    text = accounting.failed_text or str(failed)
    memory = f"its memory of {Memory(memory_limit or 0)}"
    by_daemon = deleter.startswith("execd@")
    full = bool(memory_limit) and (accounting.maxvmem_bytes or 0) >= _NEAR * (memory_limit or 0)
    rules = (  # the first that holds
        (deleter and not by_daemon, f"It was deleted by {deleter}."),
        (failed in _FAILURES, f"{_FAILURES.get(failed)} ({text})."),
        (h_rt is not None and _lasted(accounting) >= h_rt - 1, _reached(h_rt)),
        (full and (failed or status in _CRASHED), f"It used up {memory}."),
        (by_daemon or failed == LIMIT, "It passed a limit of its runtime or its memory."),
        (failed in _AFTER_JOB and status == _ANNOUNCED, "It was deleted."),
        (failed in _AFTER_JOB and status == _KILLED, "It was killed: deleted, or memory ran out on its host."),
        (failed in _AFTER_JOB, "It was ended from outside, probably deleted."),
        (failed, f"Grid Engine reports a failure: {text}."),
        (status == 0, "It ended by itself."),
        (full, f"It ended with exit status {status}, and had used up {memory}."),
        (status in _NOT_STARTED, f"Its program could not be started (exit status {status})."),
        (status == _KILLED, "It was killed on its host, probably because memory ran out."),
        (status in _SIGNALS, f"It was ended by a signal ({_signal(status - 128)})."),
    )
    return next((sentence for holds, sentence in rules if holds), f"It ended with exit status {status}.")


def _lasted(accounting: Accounting) -> float:
    if accounting.started is None or accounting.ended is None:
        return accounting.wallclock or 0.0
    return accounting.ended - accounting.started


def _reached(h_rt: int | None) -> str:
    return f"It reached its runtime of {Duration(h_rt or 0).words()}."


def _signal(number: int) -> str:
    return signal.strsignal(number) or str(number) if number in signal.valid_signals() else str(number)
