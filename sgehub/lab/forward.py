"""A port of the machine's loopback that leads into a host of the lab.

Listens in the machine's own network namespace and connects in the host's. The port is taken when the object is
made, so that a busy one is refused before anything else starts; the host is looked up at each connection, so that
it may come up later, crash and come back.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sgehub.errors import SgehubError
from sgehub.lab.errors import LabError

_CHUNK = 1 << 16
_CONNECT_SECONDS = 10.0
_PAUSE = 0.1
_CLONE_NEWNET = 0x40000000  # setns(2)
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Forward:
    """Forward 127.0.0.1:`port` to `address`:`target` as seen in a network namespace.

    `network` returns the path of that namespace, such as `lambda: lab.namespace("head", "net")`, each time it is
    asked. Port 0 takes a free one; `port` then says which. Raises LabError if the port is busy. Use as a context
    manager: connections are served by a thread of its own until the end of the block.
    """

    def __init__(
        self, network: Callable[[], Path], target: int, *, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._network = network
        self._target = (address, target)
        self._listener = _listen(port)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name=f"forward-{self.port}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()

    def __enter__(self) -> Forward:  # noqa: PYI034 - typing.Self came after Python 3.10
        """Start serving."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all connections and give the port back."""
        self.close()

    def close(self) -> None:
        """End all connections and give the port back, whether serving began or not."""
        if self._thread.is_alive() and self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()
        self._started.set()
        accepting = asyncio.create_task(self._accept(connections))
        await self._stop.wait()
        tasks = [accepting, *connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, connections: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError:  # out of file descriptors, or the client went away at once: others will come
                await asyncio.sleep(_PAUSE)
                continue
            task = asyncio.create_task(self._join(client))
            connections.add(task)
            task.add_done_callback(connections.discard)

    async def _join(self, client: socket.socket) -> None:
        """Connect to the target and pass bytes both ways until both sides have ended."""
        try:
            inside = await self._connect()
        except (OSError, SgehubError, asyncio.TimeoutError):  # nothing answers there: as if the port were closed
            client.close()
            return
        near: Pair = await asyncio.open_connection(sock=client)
        far: Pair = await asyncio.open_connection(sock=inside)
        writers = (near[1], far[1])
        try:
            await asyncio.gather(_pass(near[0], far[1]), _pass(far[0], near[1]))
        except BaseException as error:  # one side was cut off, or we are to end: so is the other
            for writer in writers:
                writer.transport.abort()
            if not isinstance(error, OSError):
                raise
        for writer in writers:
            writer.close()

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(None, socket_inside, self._network)
        try:
            made.settimeout(0)
            await asyncio.wait_for(loop.sock_connect(made, self._target), _CONNECT_SECONDS)
        except BaseException:
            made.close()
            raise
        return made


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise LabError(
            f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}. Choose another port."
        ) from error
    return listener


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until their end, and pass on the end: the other direction stays open."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def socket_inside(network: Callable[[], Path]) -> socket.socket:
    """Return a new TCP socket that lives in a network namespace.

    A socket belongs to the namespace of the thread that makes it, setns(2); the calling thread is back in its own
    when this returns. Raises OSError, and whatever `network` raises.
    """
    ours = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        theirs = os.open(network(), os.O_RDONLY)
        try:
            _set_namespace(theirs)
        finally:
            os.close(theirs)
        try:
            return socket.socket()
        finally:
            _set_namespace(ours)
    finally:
        os.close(ours)


def _set_namespace(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
