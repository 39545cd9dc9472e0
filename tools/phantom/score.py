#!/usr/bin/python3
"""Score a served phantom on held-out cases: findings F1, ROUGE-L, and accuracy of questions, each beside a baseline.

    score.py --endpoint tcp://127.0.0.1:5555 [--cases 500] [--json FILE] [--card MODEL_CARD.md]
    score.py --torch MODEL_DIR ...            the same through PyTorch, without a gateway

Runs with Debian's python3, python3-zmq and python3-protobuf (and a C compiler for the phantom library).
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import struct
import sys
import threading
import zlib

import corpus
import questions

KINDS = ("report", "choice", "closed", "open", "classify")
MAX_TOKENS = {"report": 128}
MARKS = ("<!-- scores -->", "<!-- end of scores -->")


# ------------------------------------------------------------------------------------------------ asking


def png(width, height, grey):
    """An 8-bit grey PNG of raw rows."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + grey[y * width : (y + 1) * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def gateway(endpoint, parallel):
    """A function that answers a list of (facts, task, fields) through a gateway."""
    sys.path.insert(0, str(corpus.ROOT / "tools"))
    import palmgrove_client

    local, phantom = threading.local(), corpus.Phantom()

    def answer_one(request):
        facts, task, fields = request
        if not hasattr(local, "client"):
            local.client = palmgrove_client.Client(endpoint, timeout=600.0)  # requests wait for their turn
        image = png(*phantom.draw(facts)[:3])
        return local.client.generate(task=task, fields=fields, images=[image], max_tokens=MAX_TOKENS.get(task, 24)).text

    def answer_all(requests):
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(answer_one, requests))

    return answer_all


def torch_model(folder):
    import reference

    return lambda requests: reference.answer(folder, requests)


# --------------------------------------------------------------------------------------------- measuring


def tokens(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


def longest_common(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, start=1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(said, truth):
    """F of the longest common subsequence, as the rouge-score package computes it without a stemmer."""
    a, b = tokens(said), tokens(truth)
    common = longest_common(a, b)
    return 2.0 * common / (len(a) + len(b)) if common else 0.0


def findings_table(phantom, cases, reports):
    """{label: (hits, invented, missed)} over all cases."""
    counts = collections.OrderedDict((name, [0, 0, 0]) for name in phantom.label_names())
    for facts, report in zip(cases, reports):
        said, true = phantom.findings(report), phantom.labels(facts)
        for bit, count in enumerate(counts.values()):
            told, is_true = said >> bit & 1, true >> bit & 1
            count[0] += told & is_true
            count[1] += told & ~is_true & 1
            count[2] += is_true & ~told & 1
    return counts


def f1(counts):
    hit, invented, missed = counts
    return 2.0 * hit / max(1, 2 * hit + invented + missed)


def accuracy(said, truth):
    """Share of right answers; case, blanks around and the final period do not count."""

    def plain(text):
        return text.strip().lower().removesuffix(".")

    return sum(plain(a) == plain(b) for a, b in zip(said, truth)) / len(truth)


def majority(requests, truth):
    """The best constant answer to each question text (options in the order of the alphabet)."""
    answers = collections.defaultdict(collections.Counter)
    keys = [fields.get("question") or fields["condition"] for _, _, fields in requests]
    for key, answer in zip(keys, truth):
        answers[key][answer] += 1
    return [answers[key].most_common(1)[0][0] for key in keys]


def measure(answer_all, n):
    phantom = corpus.Phantom()
    cases = [phantom.case(corpus.HELD_OUT, index) for index in range(n)]
    scores = {"cases": n}
    for kind in KINDS:
        asked = [questions.ask(phantom, facts, kind, 0) for facts in cases]
        requests = [(facts, task, fields) for facts, (task, fields, _) in zip(cases, asked)]
        truth = [answer for _, _, answer in asked]
        said = answer_all(requests)
        if kind == "report":
            table = findings_table(phantom, cases, said)
            scores["findings"] = {name: {"f1": f1(c), "n": c[0] + c[2]} for name, c in table.items()}
            scores["findings_micro_f1"] = f1([sum(column) for column in zip(*table.values())])
            scores["exact_findings"] = sum(map(lambda f, r: phantom.labels(f) == phantom.findings(r), cases, said)) / n
            scores["rouge_l"] = sum(map(rouge_l, said, truth)) / n
            normal = collections.Counter(truth).most_common(1)[0][0]
            scores["rouge_l_baseline"] = sum(rouge_l(normal, t) for t in truth) / n
        else:
            scores[kind] = accuracy(said, truth)
            scores[kind + "_baseline"] = accuracy(majority(requests, truth), truth)
    return scores


# --------------------------------------------------------------------------------------------- reporting


def table(scores):
    rows = [
        ("findings micro-F1 (reports)", scores["findings_micro_f1"], 0.0),
        ("reports with exactly the right findings", scores["exact_findings"], None),
        ("ROUGE-L (lower-case, no stemmer, F)", scores["rouge_l"], scores["rouge_l_baseline"]),
        ("multiple choice, accuracy", scores["choice"], scores["choice_baseline"]),
        ("closed questions, accuracy", scores["closed"], scores["closed_baseline"]),
        ("open questions, exact answers", scores["open"], scores["open_baseline"]),
        ("presence of a condition, accuracy", scores["classify"], scores["classify_baseline"]),
    ]
    lines = [f"| {scores['cases']} held-out drawings | model | baseline |", "|---|---|---|"]
    lines += [f"| {name} | {value:.3f} | {'' if base is None else f'{base:.3f}'} |" for name, value, base in rows]
    lines += ["", "| finding | F1 | cases |", "|---|---|---|"]
    lines += [f"| {name} | {cell['f1']:.3f} | {cell['n']} |" for name, cell in scores["findings"].items()]
    return "\n".join(lines)


def write_card(path, text):
    """Replace what stands between the marks of the model card."""
    card = pathlib.Path(path)
    head, rest = card.read_text().split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    card.write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--endpoint", help="of a running gateway")
    source.add_argument("--torch", metavar="MODEL_DIR", help="answer with PyTorch instead")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--parallel", type=int, default=8, help="requests in flight")
    parser.add_argument("--json", help="write the scores to this file")
    parser.add_argument("--card", help="write the scores into this model card")
    args = parser.parse_args()
    answer_all = gateway(args.endpoint, args.parallel) if args.endpoint else torch_model(args.torch)
    scores = measure(answer_all, args.cases)
    print(table(scores))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(scores, indent=2) + "\n")
    if args.card:
        write_card(args.card, table(scores))


if __name__ == "__main__":
    main()
