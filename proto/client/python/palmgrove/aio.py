"""The client for asyncio: any number of requests at a time on one connection."""
from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, AsyncGenerator, Callable, Dict, Union

import zmq
import zmq.asyncio

from palmgrove.messages import UNREACHABLE, Health, Options, PalmgroveError, Parts, Result, Stats, generate_body, read_reply, request_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncClient:
    """One connection of one event loop.  timeout: seconds of silence after which a server counts as unreachable."""

    def __init__(self, endpoint: str, timeout: float = 10.0):
        self.endpoint, self.timeout = endpoint, timeout
        self._waiting: Dict[str, asyncio.Queue] = {}
        self._heard = self._asked = time.monotonic()
        self._tasks: list = []
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.disable_monitor()
            self._context.destroy(linger=0)
            raise ValueError(f"cannot connect to {endpoint!r}: {error}") from None

    async def close(self) -> None:
        """End the connection; the server cancels what runs on it, and those who wait here get PalmgroveError."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(PalmgroveError(0, UNREACHABLE, f"the connection to {self.endpoint} was closed here"))
        if not self._context.closed:
            self._socket.disable_monitor()
            self._context.destroy(linger=0)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _fail(self, error: PalmgroveError) -> None:
        for queue in self._waiting.values():
            queue.put_nowait(error)

    async def _receive(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            self._heard = time.monotonic()
            try:
                answered, reply = read_reply(frames[-1])
            except PalmgroveError as error:
                self._fail(error)
                continue
            if answered in self._waiting:
                self._waiting[answered].put_nowait(reply)
            elif isinstance(reply, PalmgroveError) and answered == "":
                self._fail(reply)  # the server could not read whose request it was

    async def _watch(self) -> None:
        """A lost connection, and a server that is silent while something waits for it."""
        while True:
            if await self._monitor.poll(int(min(100, self.timeout * 250))):
                await self._monitor.recv_multipart()
                await asyncio.sleep(0.05)  # replies that came before it go first
                self._fail(PalmgroveError(0, UNREACHABLE, f"{self.endpoint} closed the connection"))
            now = time.monotonic()
            if not self._waiting:
                self._heard = now
            elif now - self._heard > self.timeout:
                self._fail(PalmgroveError(0, UNREACHABLE, f"no answer from {self.endpoint} within {self.timeout:g} s"))
            elif now - max(self._heard, self._asked) > self.timeout / 3:
                self._asked = now
                await self._socket.send(request_of("health").SerializeToString())

    async def _run(self, body: str, message: Any = None) -> AsyncGenerator[Any, None]:
        """Yield what comes for a request, to its final reply."""
        if not self._tasks:
            self._tasks = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._watch())]
        request = request_of(body, message=message)
        if not self._waiting:
            self._heard = time.monotonic()
        queue: asyncio.Queue = asyncio.Queue()
        self._waiting[request.request_id] = queue
        ended = False
        try:
            await self._socket.send(request.SerializeToString())
            while not ended:
                reply = await queue.get()
                ended = not (reply is None or isinstance(reply, str))
                if isinstance(reply, PalmgroveError):
                    raise reply
                if reply is not None:
                    yield reply
        finally:
            del self._waiting[request.request_id]
            if not ended and body == "generate" and not self._context.closed:
                await self._socket.send(request_of("cancel", request.request_id).SerializeToString())

    async def _ask(self, body: str) -> Any:
        async for reply in self._run(body):
            return reply

    async def health(self) -> Health:
        return await self._ask("health")

    async def stats(self) -> Stats:
        return await self._ask("stats")

    async def stream(self, parts: Parts = None, **options: Unpack[Options]) -> AsyncGenerator[Union[str, Result], None]:
        """Yield the answer's text piece by piece, then the Result; arguments as Client.generate.  Closing the generator cancels the request."""
        events = self._run("generate", generate_body(parts, stream=True, **options))
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def generate(self, parts: Parts = None, *, on_text: Callable[[str], object] | None = None, **options: Unpack[Options]) -> Result:
        """Run a request to its end, as Client.generate; canceling the task cancels the request."""
        events = self._run("generate", generate_body(parts, stream=on_text is not None, **options))
        try:
            async for event in events:
                if isinstance(event, Result):
                    return event
                if on_text and event:
                    on_text(event)
        finally:
            await events.aclose()
        raise PalmgroveError(0, "bad_format", f"{self.endpoint} ended the answer without a result")
