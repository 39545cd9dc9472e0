#!/usr/bin/python3
"""Many random requests against a real server: every answer equals the one made without speculation, cut at its stop string.

    stop_strings.py [--palmgrove PROGRAM] [--model DIR] [--endpoint URL] [--reference URL] [--requests N] [--seed S] [--in-flight N]
                    [-- OPTIONS OF SERVE]

Reference answers come from a server without speculation and prefix cache (--reference, or one that is started for it): whole, streamed, so
that the text after each token is known.  Then the server under test (--endpoint, or one that is started with OPTIONS) gets the requests:
stop strings cut out of their own answers, lengths, resumed answers, cancels, deadlines, vanishing clients.  Prints one line; exit code 1 on
a wrong answer, or when the server does not answer any more."""
import argparse
import collections
import os
import pathlib
import random
import sys
import tempfile
import time

N_CASES, N_TEXTS, MAX_TOKENS, SILENT_S = 8, 8, 48, 60
SAMPLINGS = (None, {"temperature": 0.8, "top_p": 0.95, "seed": 7}, {"temperature": 1.0, "seed": 11})
WORDS = "the heart is not enlarged and the left lung is clear no effusion right lower opacity small normal".split()

Reference = collections.namedtuple("Reference", "parts sampling ids texts finish")  # texts[n]: after n tokens, complete characters only


def prompts(wire, harness, folder, rng):
    for case in harness.draw(folder, 0, N_CASES):
        yield wire.report(case)
        yield wire.question(case)
    for _ in range(N_TEXTS):
        yield [wire.text(" ".join(rng.choices(WORDS, k=rng.randint(1, 40))))]


def reference_answer(wire, connection, parts, sampling):
    texts, ids, request = [""], [], wire.generate(parts, sampling, stream=True, max_tokens=MAX_TOKENS)
    for reply in connection.replies(request):
        if reply.WhichOneof("body") == "error":
            raise wire.Refused(reply.error)
        if reply.WhichOneof("body") == "token":
            ids += reply.token.ids
            texts += [texts[-1]] * (len(ids) - len(texts)) + [texts[-1] + reply.token.text]
    result = reply.result
    texts += [texts[-1]] * (len(result.ids) + 1 - len(texts))
    texts[-1] = result.text
    return Reference(parts, sampling, list(result.ids), texts, result.finish)


def cut(text, stops):
    """The text before the stop string that is complete first (of two that end together before the longer), and where it is complete."""
    ends = [(text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return text, None
    end, size = min(ends)
    return text[: end + size], end


class Case:
    """A request and what must come of it."""

    def __init__(self, wire, pb, rng, references, number):
        r = self.reference = rng.choice(references)
        n_all = len(r.ids)
        self.max_tokens = rng.choice((MAX_TOKENS, MAX_TOKENS, rng.randint(1, MAX_TOKENS)))
        n = min(self.max_tokens, n_all)
        whole = r.texts[n]
        self.stops = []
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            start = rng.randrange(len(whole) + 1)
            piece = whole[start : start + rng.randint(1, 12)].replace("\0", "")
            if piece and len(piece.encode()) <= 60:
                self.stops.append(piece if rng.random() < 0.9 else piece + "~")
        self.text, end = cut(whole, self.stops)
        self.n_ids = n if end is None else next(k for k in range(n + 1) if len(r.texts[k]) >= end)
        self.finish = pb.FINISH_STOP if end is not None else pb.FINISH_LENGTH if self.max_tokens <= n_all else r.finish
        n_resumed = rng.randint(0, self.n_ids) if rng.random() < 0.15 else 0
        self.may_end = set()
        settings = {"max_tokens": self.max_tokens, "stop": self.stops, "stream": rng.random() < 0.5, "resume_ids": r.ids[:n_resumed]}
        if rng.random() < 0.03:
            settings["deadline_ms"] = rng.randint(1, 300)
            self.may_end.add("deadline_exceeded")
        self.is_canceled = rng.random() < 0.03
        if self.is_canceled:
            self.may_end.add("canceled")
        self.request = wire.generate(r.parts, r.sampling, **settings)
        self.request.version, self.request.request_id = 1, f"case-{number}"
        self.id = self.request.request_id

    def check(self, result):
        """What is wrong with a result; None: nothing."""
        if result.text != self.text:
            return f"text {result.text!r}, not {self.text!r}"
        if list(result.ids) != self.reference.ids[: self.n_ids]:
            return f"{len(result.ids)} ids, not {self.n_ids}, or others"
        if result.finish != self.finish:
            return f"finish {result.finish}, not {self.finish}"
        return None


class Run:
    """Requests over one connection, up to `in_flight` at a time; another connection now and then sends some and vanishes."""

    def __init__(self, wire, pb, endpoint, references, options):
        self.wire, self.pb, self.endpoint, self.references, self.options = wire, pb, endpoint, references, options
        self.rng = random.Random(options.seed)
        self.open, self.wrong, self.again = {}, [], collections.deque()
        self.counts = collections.Counter()
        self.accepted = 0

    def vanish(self):
        connection = self.wire.Connection(self.endpoint)
        for k in range(3):
            case = Case(self.wire, self.pb, self.rng, self.references, f"gone-{k}")
            case.request.generate.stream = True
            connection.send_raw(case.request.SerializeToString())
        if self.rng.random() < 0.7:
            connection.receive()
        connection.close()

    def submit(self, connection, number):
        case = self.again.popleft() if self.again else Case(self.wire, self.pb, self.rng, self.references, number)
        self.open[case.id] = case
        connection.send_raw(case.request.SerializeToString())
        if case.is_canceled:
            connection.send_raw(self.pb.Request(version=1, request_id=case.id, cancel=self.pb.Cancel()).SerializeToString())

    def take(self, reply):
        body = reply.WhichOneof("body")
        if body == "token":
            return
        case = self.open.pop(reply.request_id)
        if body == "result":
            wrong = case.check(reply.result)
            self.counts[self.pb.FinishReason.Name(reply.result.finish)] += 1
            self.accepted += reply.result.timings.accepted_tokens
        elif reply.error.name == "busy":
            self.again.append(case)
            return
        else:
            wrong = None if reply.error.name in case.may_end else f"{reply.error.name}: {reply.error.message}"
            self.counts[reply.error.name] += 1
        if wrong is not None:
            self.wrong.append(f"{case.id}, stops {case.stops!r}, max_tokens {case.max_tokens}: {wrong}")

    def run(self):
        n_sent, width = 0, 1
        with self.wire.Connection(self.endpoint, timeout=SILENT_S) as connection:
            while (n_sent < self.options.requests or self.open or self.again) and len(self.wrong) < 10:
                if self.rng.random() < 0.01:  # wide batches are not drafted, narrow ones are
                    width = self.rng.choice((1, 2, 4, 8, self.options.in_flight))
                while len(self.open) < width and (self.again or n_sent < self.options.requests):
                    n_sent += not self.again
                    self.submit(connection, n_sent)
                    if self.rng.random() < 0.005:
                        self.vanish()
                try:
                    self.take(connection.receive())
                except self.wire.Silent:
                    self.wrong.append(f"no reply for {SILENT_S} s; {len(self.open)} requests are open: {', '.join(sorted(self.open))}")
                    return self.pb.Stats()
            return connection.stats()


def server(harness, options, *arguments):
    return harness.Server(1, 1, model=options.model or harness.MODEL, program=options.palmgrove or harness.PALMGROVE, options=arguments)


def check(wire, pb, harness, options):
    with tempfile.TemporaryDirectory() as folder:
        asked = list(prompts(wire, harness, folder, random.Random(options.seed)))

    def ask(endpoint):
        with wire.Connection(endpoint, timeout=SILENT_S) as connection:
            return [reference_answer(wire, connection, parts, sampling) for parts in asked for sampling in SAMPLINGS]

    if options.reference:
        references = ask(options.reference)
    else:
        with server(harness, options, "--speculate", "off", "--prefix-cache", "off") as plain:
            references = ask(plain.endpoint)
    if options.endpoint:
        run = Run(wire, pb, options.endpoint, references, options)
        return run, run.run()
    with server(harness, options, *options.serve) as tested:
        run = Run(wire, pb, tested.endpoint, references, options)
        return run, run.run()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("palmgrove", "model", "endpoint", "reference"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=24)
    parser.add_argument("serve", nargs="*", help="options of serve")
    options = parser.parse_args()
    if options.palmgrove:
        options.palmgrove = pathlib.Path(options.palmgrove).resolve()
        os.environ.setdefault("PALMGROVE_BUILD_DIR", str(options.palmgrove.parents[2]))
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    import harness
    import palmgrove_pb2 as pb
    import wire

    start = time.monotonic()
    run, stats = check(wire, pb, harness, options)
    for line in run.wrong:
        print(line)
    print(f"{sum(run.counts.values())} requests in {time.monotonic() - start:.0f} s, {len(run.wrong)} wrong: "
          f"{', '.join(f'{name} {n}' for name, n in sorted(run.counts.items()))}; {run.accepted} draft tokens accepted, "
          f"{stats.prefix_tokens} prompt tokens reused in {stats.steps} steps")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
