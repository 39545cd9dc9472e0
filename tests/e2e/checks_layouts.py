"""One request, one answer: the same bytes and the same logits on every layout and from every client."""
import json
import tempfile

import harness
import wire

SAMPLED = {"temperature": 1.5, "top_k": 40, "top_p": 0.95, "seed": 1234567}


def requests(cases):
    """(name, request) of everything that is compared: greedy and sampled, reports and questions."""
    for case in cases:
        for kind, sampling in (("greedy", None), ("sampled", SAMPLED)):
            for name, parts in (("report", wire.report(case)), ("question", wire.question(case))):
                yield f"{kind} {name} {case.index}", wire.generate(parts, sampling, logits_digest=True, max_tokens=160)


def answers(endpoint, cases):
    """{name: (text, ids, digest of the logits)} of one server."""
    found = {}
    with wire.Connection(endpoint, timeout=120) as connection:
        for name, request in requests(cases):
            result = connection.ask(request).result
            found[name] = (result.text, tuple(result.ids), result.provenance.logits_digest)
    return found


def layouts(grids=((1, 1), (2, 2), (3, 1)), n_cases=1):
    """Every layout gives the bytes of the first."""
    with tempfile.TemporaryDirectory() as folder:
        cases = harness.draw(folder, 0, n_cases)
        first, different = None, []
        for tp, pp in grids:
            with harness.Server(tp, pp) as server:
                found = answers(server.endpoint, cases)
            assert all(text and len(digest) == 16 for text, _, digest in found.values()), "an answer without text or logits digest"
            first = first or found
            different += [f"{tp}x{pp}: {name}" for name in first if found[name] != first[name]]
    sampled = {name: v[0] for name, v in first.items() if name.startswith("sampled")}
    greedy = {name: v[0] for name, v in first.items() if name.startswith("greedy")}
    moved = sum(sampled[name] != greedy[name.replace("sampled", "greedy")] for name in sampled)
    figure = f"{len(first)} requests on {len(grids)} layouts, {len(different)} differ (sampling changed {moved} of {len(sampled)} texts)"
    return not different, figure + "".join(f"; {one}" for one in different[:4])


def python_client_text(server, case):
    with server.client() as client:
        return client.generate(task="report", fields={"view": case.view, "indication": case.indication}, images=[case.png]).text


def clients_agree(n_cases=3):
    """The C client, the Python client and the bare protocol get the same text and ids."""
    different, n = [], 0
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2) as server:
        cases = harness.draw(folder, 0, n_cases)
        with wire.Connection(server.endpoint) as connection:
            for case in cases:
                plain = connection.generate(wire.report(case))
                streamed = "".join(r.token.text for r in connection.replies(wire.generate(wire.report(case), stream=True))
                                   if r.WhichOneof("body") == "token")
                from_c = harness.run_palmgrove("report", case.path, "--view", case.view, "--indication", case.indication, "--json",
                                               "--endpoint", server.endpoint)
                from_python = python_client_text(server, case)
                texts = {"streamed": streamed, "C client": json.loads(from_c[1])["text"] if from_c[0] == 0 else from_c[2],
                         "Python client": from_python}
                n += 1
                different += [f"{name} of {case.index}: {text!r} is not {plain.text!r}" for name, text in texts.items()
                              if text != plain.text]
    return not different, f"{n} reports by streaming, C client, Python client and bare protocol; {len(different)} differ" + "".join(
        f"; {one}" for one in different[:2])
