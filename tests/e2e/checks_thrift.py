"""What a server spares its ranks - prompts that begin alike, guessed tokens - and answers gone on with after a crash: no reply shows it."""
import tempfile

import harness
import wire

SAMPLED = {"temperature": 0.7, "top_p": 0.9, "seed": 5}
SERVERS = ((), ("--prefix-cache", "off", "--speculate", "off"), ("--speculate", "4"))


def ask_all(endpoint, cases):
    """Every case's report twice, greedy and sampled: (text, ids) of all."""
    said = []
    with wire.Connection(endpoint) as connection:
        for _ in range(2):
            for case in cases:
                for sampling in (None, SAMPLED):
                    result = connection.generate(wire.report(case), sampling=sampling)
                    said.append((result.text, list(result.ids)))
        return said, connection.stats()


def resumed(endpoint, case, whole):
    """The same reply from half of its tokens, on a server that has not seen it; streamed is only what was missing."""
    text, ids = whole
    half = ids[:len(ids) // 2]
    with wire.Connection(endpoint) as connection:
        *events, last = connection.replies(wire.generate(wire.report(case), sampling=SAMPLED, stream=True, resume_ids=half))
        streamed = "".join(reply.token.text for reply in events)
        try:
            connection.generate(wire.report(case), resume_ids=[1 << 30])
            refused = False
        except wire.Refused as error:
            refused = error.code == 1
    return refused and last.result.text == text and list(last.result.ids) == ids and text.endswith(streamed) and 0 < len(streamed) < len(text)


def thrift_check():
    """The same bytes with everything on, everything off, and more guesses than pay."""
    with tempfile.TemporaryDirectory() as folder:
        cases = harness.draw(folder, 0, 3)
        answers, stats = [], []
        for options in SERVERS:
            with harness.Server(2, 1, options=options) as server:
                said, now = ask_all(server.endpoint, cases)
                answers.append(said)
                stats.append(now)
        with harness.Server(1, 2) as server:
            goes_on = resumed(server.endpoint, cases[0], answers[0][1])
    refusals = [harness.run_palmgrove("serve", harness.MODEL, option, "many")[0] for option in ("--prefix-cache", "--speculate")]
    on, off, forced = stats
    spared = on.prefix_tokens > 0 and forced.accepted_tokens > 0 and off.prefix_tokens == off.drafted_tokens == 0 and forced.steps < off.steps
    held = all(said == answers[0] for said in answers) and goes_on and spared and all(code != 0 for code in refusals)
    return held, (f"{len(answers[0])} replies, {'the same' if all(said == answers[0] for said in answers) else 'NOT the same'} in "
                  f"{len(SERVERS)} servers; {on.prefix_tokens} of {on.prompt_tokens} prompt tokens not computed again, "
                  f"{forced.accepted_tokens} of {forced.drafted_tokens} guesses right, {off.steps} steps became {forced.steps}; "
                  f"{'resumed' if goes_on else 'NOT resumed'} on a fresh server")
