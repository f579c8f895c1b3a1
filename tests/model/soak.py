"""`make soak`: many more histories than a build has time for, on every core, until one breaks a law.

python -m tests.model.soak [HISTORIES [FIRST_SEED]]
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.model.search import search

HISTORIES = 100_000
CHUNK = 500  # histories made from one seed


def main(words: list[str]) -> int:
    """Play the histories, say how far it is, return 1 if a law was broken."""
    wanted = int(words[0]) if words else HISTORIES
    first = int(words[1]) if len(words) > 1 else int(time.time())
    chunk = min(CHUNK, wanted)
    seeds = range(first, first + -(-wanted // chunk))
    began, played, breaches = time.monotonic(), 0, 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(search, chunk, number): number for number in seeds}
        for done in as_completed(under_way):
            found = done.result()
            played += found.histories
            print(f"{played} histories, {played / (time.monotonic() - began):.1f} a second", flush=True)
            if found.breach:
                breaches += 1
                print(f"Seed {under_way[done]} breaks a law:\n{found.breach}\n", flush=True)
    print(f"{breaches} of {len(seeds)} seeds break a law.")
    return int(breaches > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
