#!/usr/bin/python3
"""Python client of the palmgrove gateway, written from docs/PROTOCOL.md.  Needs python3-zmq and python3-protobuf.

    with Client("tcp://127.0.0.1:7401") as client:
        result = client.generate(task="report", fields={"indication": "cough"}, images=[open("chest.png", "rb").read()],
                                 on_text=lambda text: print(text, end=""))
    print(result.usage.completion_tokens, result.provenance.model_digest)
"""
import argparse, os, pathlib, signal, sys, time, uuid
import zmq

here = pathlib.Path(__file__).resolve().parent  # palmgrove_pb2.py: beside this file, in $PALMGROVE_PYTHON, or in a build folder
sys.path[:0] = [str(here), *filter(None, [os.environ.get("PALMGROVE_PYTHON")]), *map(str, sorted(here.glob("../build/*/python")))]
import palmgrove_pb2 as pb


class PalmgroveError(Exception):
    """A refusal of the server (code, name and message of its Error), or name "unreachable" with code 0."""
    def __init__(self, code, name, message):
        super().__init__(f"{name}: {message}")
        self.code, self.name, self.message = code, name, message


def vectors(rows, encoder=""):
    """A part of vectors, a position of the prompt each: rows of equally many numbers for an encoder of the model; without one embeddings."""
    return pb.Part(vectors=pb.Vectors(encoder=encoder, width=len(rows[0]), values=[value for row in rows for value in row]))


class Client:
    """One connection, used by one thread.  timeout: seconds of silence after which a server counts as unreachable."""
    def __init__(self, endpoint, timeout=10.0):
        self.endpoint, self.timeout, self.running = endpoint, timeout, None
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect(endpoint)

    def close(self):
        self.socket.disable_monitor()
        self.context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, request_id=None, **body):
        request = pb.Request(version=1, request_id=request_id or uuid.uuid4().hex, **body)
        self.socket.send(request.SerializeToString())
        return request.request_id

    def _connection_broke(self):
        """Since the last look, that is."""
        events = 0
        while self.monitor.poll(0):
            events += len(self.monitor.recv_multipart())
        return events > 0

    def _replies(self, request_id):
        """Yield the bodies that answer request_id; silence and a lost connection end in PalmgroveError."""
        heard = asked = time.monotonic()
        lost = False
        while True:
            if self.socket.poll(min(100, self.timeout * 250)):
                reply = pb.Reply.FromString(self.socket.recv_multipart()[-1])
                heard = time.monotonic()
                if reply.WhichOneof("body") == "error" and reply.request_id in (request_id, ""):
                    raise PalmgroveError(reply.error.code, reply.error.name, reply.error.message)
                if reply.request_id == request_id:
                    yield getattr(reply, reply.WhichOneof("body"))
                    heard = time.monotonic()  # the caller's own time is no silence of the server
                continue
            now = time.monotonic()
            if lost:  # the server forgot what ran on that connection
                raise PalmgroveError(0, "unreachable", f"{self.endpoint} closed the connection")
            lost = self._connection_broke()  # a last message may lie behind that news: look once more
            if now - heard > self.timeout:
                raise PalmgroveError(0, "unreachable", f"no answer from {self.endpoint} within {self.timeout:g} s")
            if now - max(heard, asked) > self.timeout / 3:  # a long generation: is anybody there?
                asked = now
                self._send(health=pb.HealthQuery())

    def _ask(self, **body):
        self._connection_broke()  # what happened while nobody waited does not matter
        return next(self._replies(self._send(**body)))

    def health(self):
        return self._ask(health=pb.HealthQuery())

    def stats(self):
        return self._ask(stats=pb.StatsQuery())

    def cancel(self):
        """End the generate that runs on this client; call it from on_text or a signal handler of the same thread."""
        if self.running:
            self._send(self.running, cancel=pb.Cancel())

    def generate(self, parts=None, task=None, fields=None, images=(), on_text=None, max_tokens=0, temperature=0.0, top_k=0,
                 top_p=0.0, seed=0, stop=(), deadline_ms=0, stat=False, logits_digest=False, chat=None, answer=""):
        """parts: str (text), bytes (an image file) or pb.Part, in order (a frame of a DICOM file: pb.Part(image=..., image_frame=N); vectors: vectors(...)); then task, then chat, then images.  A field of the task may be a list of
        values.  answer: score this instead of writing one (logprobs of the result).  chat: the user's words, or
        pairs of a role ("system", "user", "assistant", "image") and a text.  on_text gets each text delta; without it nothing is
        streamed.  Returns pb.Result: text, finish, usage, timings, provenance, ids."""
        prompt = [p if isinstance(p, pb.Part) else pb.Part(text=p) if isinstance(p, str) else pb.Part(image=p) for p in parts or ()]
        if task:
            pairs = [pb.Field(name=name, value=value) for name, values in (fields or {}).items()
                     for value in ([values] if isinstance(values, str) else values)]
            prompt.append(pb.Part(task=pb.TaskCall(name=task, fields=pairs)))
        if chat is not None:
            pairs = [pb.Field(name=name, value=value) for name, value in ([("user", chat)] if isinstance(chat, str) else chat)]
            prompt.append(pb.Part(task=pb.TaskCall(name="chat", fields=pairs)))
        prompt += [image if isinstance(image, pb.Part) else pb.Part(image=image) for image in images]
        body = pb.Generate(parts=prompt, max_tokens=max_tokens, stop=stop, stream=on_text is not None, deadline_ms=deadline_ms,
                           priority=pb.STAT if stat else pb.ROUTINE, logits_digest=logits_digest, answer=answer,
                           sampling=pb.Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed))
        self._connection_broke()
        self.running = self._send(generate=body)
        try:
            for reply in self._replies(self.running):
                if isinstance(reply, pb.Result):
                    return reply
                if on_text and reply.text:
                    on_text(reply.text)
        finally:
            self.running = None


def main():
    cli = argparse.ArgumentParser(description="talk to a palmgrove server")
    cli.add_argument("endpoint", help="tcp://HOST:PORT or ipc:///PATH")
    cli.add_argument("command", choices=["report", "generate", "health", "stats"])
    cli.add_argument("input", nargs="?", help="report: an image file; generate: the text")
    cli.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of the report task")
    cli.add_argument("--frame", type=int, default=0, help="report: which frame of a DICOM file, from 0")
    cli.add_argument("--temperature", type=float, default=0.0)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--max-tokens", type=int, default=0)
    args = cli.parse_args()
    if args.command in ("report", "generate") and args.input is None:
        cli.error(f"{args.command} needs an input")
    try:
        with Client(args.endpoint) as client:
            if args.command in ("health", "stats"):
                print(getattr(client, args.command)(), end="")
                return 0
            signal.signal(signal.SIGINT, lambda *_: client.cancel())
            options = dict(on_text=lambda text: print(text, end="", flush=True), temperature=args.temperature, seed=args.seed,
                           max_tokens=args.max_tokens)
            if args.command == "report":
                image = pb.Part(image=pathlib.Path(args.input).read_bytes(), image_frame=args.frame)
                result = client.generate(task="report", fields=dict(f.split("=", 1) for f in args.field), images=[image], **options)
            else:
                result = client.generate([args.input], **options)
            print(f"\n{result.usage.completion_tokens} tokens, {result.timings.total_ms:.0f} ms, {result.provenance.model}",
                  file=sys.stderr)
            return 0
    except (PalmgroveError, OSError, ValueError) as failure:
        print(f"palmgrove_client: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
