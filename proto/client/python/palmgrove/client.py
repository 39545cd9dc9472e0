"""The synchronous client: one connection, used by one thread."""
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Union

import zmq

from palmgrove.messages import UNREACHABLE, Health, Options, PalmgroveError, Parts, Result, Stats, generate_body, read_reply, request_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Client:
    """One connection, used by one thread.  timeout: seconds of silence after which a server counts as unreachable."""

    def __init__(self, endpoint: str, timeout: float = 10.0):
        self.endpoint, self.timeout = endpoint, timeout
        self._running: str | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ValueError(f"cannot connect to {endpoint!r}: {error}") from None

    def close(self) -> None:
        if not self._context.closed:
            self._socket.disable_monitor()
            self._context.destroy(linger=0)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, body: str, request_id: str | None = None, message: Any = None) -> str:
        request = request_of(body, request_id, message)
        self._socket.send(request.SerializeToString())
        return request.request_id

    def _connection_broke(self) -> bool:
        """Since the last look."""
        events = 0
        while self._monitor.poll(0):
            events += len(self._monitor.recv_multipart())
        return events > 0

    def _replies(self, request_id: str) -> Iterator[Any]:
        """What comes for request_id; errors, silence and a lost connection are raised."""
        heard = asked = time.monotonic()
        lost = False
        while True:
            if self._socket.poll(int(min(100, self.timeout * 250))):
                answered, reply = read_reply(self._socket.recv_multipart()[-1])
                heard = time.monotonic()
                if isinstance(reply, PalmgroveError) and answered in (request_id, ""):
                    raise reply
                if answered == request_id:
                    yield reply
                    heard = time.monotonic()  # the caller's own time is not the server's silence
                continue
            now = time.monotonic()
            if lost:  # the server dropped what ran on that connection
                raise PalmgroveError(0, UNREACHABLE, f"{self.endpoint} closed the connection")
            lost = self._connection_broke()  # a final message may have come before that: look once more
            if now - heard > self.timeout:
                raise PalmgroveError(0, UNREACHABLE, f"no answer from {self.endpoint} within {self.timeout:g} s")
            if now - max(heard, asked) > self.timeout / 3:  # a long generation: does the server still live?
                asked = now
                self._send("health")

    def _ask(self, body: str) -> Any:
        self._connection_broke()  # earlier disconnects do not matter
        return next(self._replies(self._send(body)))

    def health(self) -> Health:
        return self._ask("health")

    def stats(self) -> Stats:
        return self._ask("stats")

    def cancel(self) -> None:
        """End the request that runs on this client; call it from on_text, between events, or from a signal handler of the same thread."""
        if self._running:
            self._send("cancel", self._running)

    def stream(self, parts: Parts = None, **options: Unpack[Options]) -> Iterator[Union[str, Result]]:
        """Yield the answer's text piece by piece, then the Result; arguments as generate.  Leaving the loop early cancels the request."""
        yield from self._run(generate_body(parts, stream=True, **options))

    def _run(self, message: Any) -> Iterator[Union[str, Result]]:
        if self._running:
            raise RuntimeError("a request runs on this client already; use another one, or AsyncClient")
        self._connection_broke()
        self._running = self._send("generate", message=message)
        ended = False
        try:
            for reply in self._replies(self._running):
                ended = isinstance(reply, Result)
                if reply is not None:
                    yield reply
                if ended:
                    return
        except PalmgroveError:
            ended = True
            raise
        finally:
            if not ended and not self._context.closed:
                self.cancel()
            self._running = None

    def generate(self, parts: Parts = None, *, on_text: Callable[[str], object] | None = None, **options: Unpack[Options]) -> Result:
        """Run a request to its end.

        parts: what the prompt is made of, in order: str (text), bytes (an image file), image(), vectors(), task().  Then come
        task (a name, with fields: a mapping of names to text, numbers or lists of them), chat (the user's words, or pairs of a role
        ("system", "user", "assistant", "image") and a text) and images.  Options: max_tokens, temperature, top_k, top_p, seed, stop,
        deadline_ms, stat, logits_digest, strict_images, resume_ids; answer: score this instead of generating one.
        on_text gets each text delta; without it nothing is streamed."""
        for event in self._run(generate_body(parts, stream=on_text is not None, **options)):
            if isinstance(event, Result):
                return event
            if on_text and event:
                on_text(event)
        raise PalmgroveError(0, "bad_format", f"{self.endpoint} ended the answer without a result")
