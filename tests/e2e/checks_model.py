"""The demonstration model through the gateway: held-out scores, and PyTorch's greedy texts."""
import json
import pathlib
import subprocess
import sys
import tempfile

import harness

F1_BOUND = 0.90
GREEDY_PROMPTS = 50
GREEDY_FILE = harness.ROOT / "tests/golden/palm_e/phantom_greedy.jsonl"


def scores(n_cases=500):
    """Findings of held-out drawings, read from reports that came through the gateway."""
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2) as server:
        out = pathlib.Path(folder) / "scores.json"
        subprocess.run([sys.executable, harness.ROOT / "tools/phantom/score.py", "--endpoint", server.endpoint, "--cases", str(n_cases),
                        "--json", out], check=True, stdout=subprocess.DEVNULL,
                       env=harness.environment(PALMGROVE_PYTHON=str(harness.BUILD / "python")))
        s = json.loads(out.read_text())
    return s["findings_micro_f1"] >= F1_BOUND, (
        f"{n_cases} held-out drawings: findings micro-F1 {s['findings_micro_f1']:.3f} (bound {F1_BOUND}), ROUGE-L {s['rouge_l']:.3f} "
        f"(constant report {s['rouge_l_baseline']:.3f}), multiple choice {s['choice']:.3f} (majority {s['choice_baseline']:.3f})")


def greedy():
    """The same greedy texts as PyTorch in f32 on the same weights."""
    if not GREEDY_FILE.is_file():
        return None, f"{GREEDY_FILE.name} is not there: tools/phantom/reference.py writes it"
    sys.path.insert(0, str(harness.ROOT / "tools/phantom"))
    import corpus
    import score

    rows = [json.loads(line) for line in GREEDY_FILE.read_text().splitlines()]
    phantom = corpus.Phantom()
    with harness.Server(2, 2) as server:
        facts = [phantom.case(corpus.HELD_OUT, index) for index in range(len(rows))]
        assert [f.seed for f in facts] == [row["seed"] for row in rows], "the file was made with other drawings"
        said = score.gateway(server.endpoint, 8)([(f, row["task"], row["fields"]) for f, row in zip(facts, rows)])
    different = [f"{row['task']} {i}: {text!r} is not {row['text']!r}" for i, (text, row) in enumerate(zip(said, rows))
                 if text != row["text"]]
    return not different and len(rows) >= GREEDY_PROMPTS, (
        f"{len(rows) - len(different)} of {len(rows)} greedy texts are PyTorch's (at least {GREEDY_PROMPTS} prompts, all alike)"
        + "".join(f"; {one}" for one in different[:2]))
