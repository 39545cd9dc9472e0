"""The client protocol at its lowest: one protobuf message a frame over a DEALER socket, so that tests can also send what a well-behaved
client never would."""
import itertools
import time

import zmq

import harness  # noqa: F401  puts the generated module on the path
import palmgrove_pb2 as pb

_ids = itertools.count(1)


class Refused(Exception):
    """A typed error from the server."""

    def __init__(self, error):
        super().__init__(f"{error.name}: {error.message}")
        self.code, self.name, self.message = error.code, error.name, error.message


class Silent(Exception):
    """Nothing came within the timeout."""


class Connection:
    def __init__(self, endpoint, timeout=60):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.timeout = timeout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.context.term()

    def send_raw(self, *frames):
        self.socket.send_multipart(list(frames))

    def receive(self, timeout=None):
        if not self.socket.poll(1000 * (self.timeout if timeout is None else timeout)):
            raise Silent()
        return pb.Reply.FromString(self.socket.recv_multipart()[-1])

    def replies(self, request):
        """Send a request; yield its replies up to and with the last."""
        if not request.version:
            request.version = 1
        if not request.request_id:
            request.request_id = f"test-{next(_ids)}"
        self.socket.send(request.SerializeToString())
        end = time.monotonic() + self.timeout
        while True:
            reply = self.receive(max(0.001, end - time.monotonic()))
            if reply.request_id != request.request_id:
                continue
            yield reply
            if reply.WhichOneof("body") != "token":
                return

    def ask(self, request):
        """The last reply; a Refused exception when it is an error."""
        for reply in self.replies(request):
            if reply.WhichOneof("body") == "error":
                raise Refused(reply.error)
        return reply

    def generate(self, parts, **settings):
        return self.ask(generate(parts, **settings)).result

    def health(self):
        return self.ask(pb.Request(health=pb.HealthQuery())).health

    def stats(self):
        return self.ask(pb.Request(stats=pb.StatsQuery())).stats


def text(value):
    return pb.Part(text=value)


def image(value):
    return pb.Part(image=value)


def task(name, **fields):
    return pb.Part(task=pb.TaskCall(name=name, fields=[pb.Field(name=k, value=v) for k, v in fields.items()]))


def generate(parts, sampling=None, **settings):
    request = pb.Request(generate=pb.Generate(parts=parts, **settings))
    if sampling is not None:
        request.generate.sampling.CopyFrom(pb.Sampling(**sampling))
    return request


def report(case, **settings):
    """The parts of a report on a held-out case."""
    return [task("report", view=case.view, indication=case.indication), image(case.png)]


def question(case):
    return [task("vqa", question=case.question), image(case.png)]
