"""The job log: what the server and the session say, in a file that Grid Engine has opened, with an upper size.

Law: never blocks the server and never fails; what cannot be written is dropped. A log that reaches its limit
starts again with its last lines, in place, because Grid Engine holds the file open and the hub reads it by name.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

_KEPT = 64 * 1024  # bytes of the newest lines that survive
_PIECE = 64 * 1024


class JobLog:
    """Writes to `descriptor`, which is emptied whenever more than `limit` bytes would stand in it.

    What is no regular file (a terminal, a pipe) has no limit. Safe for several threads.
    """

    def __init__(self, descriptor: int, limit: int) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._kept = min(_KEPT, max(1, limit // 2))
        self._lock = threading.Lock()
        self._recent = b""
        self._size: int | None = None
        with suppress(OSError):
            status = os.fstat(descriptor)
            self._size = status.st_size if stat.S_ISREG(status.st_mode) else None

    def say(self, sentence: str) -> None:
        """Write one line of the session's own."""
        text = "".join(letter if letter.isprintable() else "?" for letter in sentence)
        self.write(f"sgehub: {text}\n".encode(errors="replace"))

    def write(self, data: bytes) -> None:
        """Append `data`."""
        with self._lock, suppress(OSError):  # a full disk must not end the session
            self._recent = (self._recent + data)[-self._kept :]
            if self._size is not None and self._size + len(data) > self._limit:
                data = self._start_again()
            while data:
                written = os.write(self._descriptor, data)
                data = data[written:]
                self._size = None if self._size is None else self._size + written

    def _start_again(self) -> bytes:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)  # where the file was not opened for appending
        self._size = 0
        whole_lines = self._recent.partition(b"\n")[2] or self._recent
        return b"sgehub: the log had reached its limit; older lines were dropped.\n" + whole_lines

    def pump(self, source: int) -> threading.Thread:
        """Copy everything from `source` in a thread of its own, until its end; closes it.

        RuntimeError where the person may have no more threads on this host.
        """
        thread = threading.Thread(target=self._copy, args=(source,), daemon=True, name="log")
        try:
            thread.start()
        except RuntimeError:
            os.close(source)
            raise
        return thread

    def _copy(self, source: int) -> None:
        with os.fdopen(source, "rb", buffering=0) as pipe:
            while data := pipe.read(_PIECE):
                self.write(data)
