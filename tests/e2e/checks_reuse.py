"""Prefix reuse, speculative decoding and answers resumed after a crash: replies do not depend on them."""
import pathlib
import shutil
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


def reuse_check():
    """The same bytes with everything on, everything off, and more drafts than pay."""
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
    saved = on.prefix_tokens > 0 and forced.accepted_tokens > 0 and off.prefix_tokens == off.drafted_tokens == 0 and forced.steps < off.steps
    held = all(said == answers[0] for said in answers) and goes_on and saved and all(code != 0 for code in refusals)
    return held, (f"{len(answers[0])} replies, {'the same' if all(said == answers[0] for said in answers) else 'NOT the same'} in "
                  f"{len(SERVERS)} servers; {on.prefix_tokens} of {on.prompt_tokens} prompt tokens not computed again, "
                  f"{forced.accepted_tokens} of {forced.drafted_tokens} draft tokens accepted, {off.steps} steps became {forced.steps}; "
                  f"{'resumed' if goes_on else 'NOT resumed'} on a fresh server")


WORDS = ("Findings: the heart is", "Write a report about a clear radiograph.", "Is there an effusion on the right?")


def ask_draft(endpoint, cases):
    """Reports of drawings and texts without an image, greedy and sampled; acceptance in the statistics and in the results."""
    said, drafted, accepted = [], 0, 0
    with wire.Connection(endpoint) as connection:
        for parts in [wire.report(case) for case in cases] + [[wire.text(words)] for words in WORDS]:
            for sampling in (None, SAMPLED):
                result = connection.generate(parts, sampling=sampling, max_tokens=80)
                said.append((result.text, list(result.ids)))
                drafted += result.timings.drafted_tokens
                accepted += result.timings.accepted_tokens
        stats = connection.stats()
    assert (drafted, accepted) == (stats.drafted_tokens, stats.accepted_tokens)
    return said, stats


def with_vocabulary(folder, vocabulary):
    """The demonstration model under another tokenizer."""
    copy = pathlib.Path(folder) / "other"
    shutil.copytree(harness.MODEL, copy)
    shutil.copy(vocabulary, copy / "tokenizer.model")
    return copy


def refused_drafts(folder):
    """What starts refuse, and the words that must say why."""
    other = with_vocabulary(folder, harness.ROOT / "tests/golden/text/plain/tokenizer.model")
    starts = (((other,), ("has another vocabulary than", str(other), str(harness.MODEL), "leave out --draft")),
              ((pathlib.Path(folder) / "nothing",), ("draft model", "nothing")),
              ((harness.MODEL, "--draft-weights", "int3"), ("draft-weights 'int3'",)),
              ((harness.MODEL, "--speculate", "off"), ("--speculate off",)),
              ((harness.MODEL, "--kv-tokens", "1000000000"), ("KV tokens", "lower --kv-tokens")))
    missed = []
    for options, words in starts:
        code, out, err = harness.run_palmgrove("serve", harness.MODEL, "--endpoint", f"ipc://{folder}/refused", "--draft", *options)
        missed += [options] if code == 0 or not all(word in out + err for word in words) else []
    return missed


def draft_check():
    """The same bytes with a draft model as without: the model itself, itself rounded, itself as shards; on other layouts."""
    with tempfile.TemporaryDirectory() as folder:
        cases = harness.draw(folder, 0, 2)
        shards = pathlib.Path(folder) / "int8"
        code, _, err = harness.run_palmgrove("shard", harness.MODEL, "--tp", "1", "--pp", "1", "--weights", "int8", "--output", shards)
        assert code == 0, err
        itself = ("--draft", str(harness.MODEL))
        servers = ((1, 1, ("--speculate", "off")), (1, 1, (*itself, "--speculate", "4")), (2, 1, itself),
                   (1, 2, (*itself, "--draft-weights", "int4", "--speculate", "6")), (2, 2, (*itself, "--speculate", "3")),
                   (1, 1, ("--draft", str(shards), "--speculate", "4")))
        answers, drafts = [], []
        for tp, pp, options in servers:
            with harness.Server(tp, pp, options=options) as server:
                said, stats = ask_draft(server.endpoint, cases)
            answers.append(said)
            drafts.append((stats.accepted_tokens, stats.drafted_tokens))
        missed = refused_drafts(folder)
    same = all(said == answers[0] for said in answers)
    told = drafts[0] == (0, 0) and all(2 * accepted > drafted > 0 for (_, _, options), (accepted, drafted) in zip(servers, drafts) if "--speculate" in options[2:])
    return same and told and not missed, (
        f"{len(answers[0])} replies, {'the same' if same else 'NOT the same'} in {len(servers)} servers; draft tokens accepted: "
        f"{', '.join(f'{accepted} of {drafted}' for accepted, drafted in drafts[1:])}"
        + (f"; NOT refused as it should be: {missed}" if missed else "; 5 wrong starts refused"))
