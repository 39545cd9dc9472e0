"""PaLM-E's other inputs: vectors among texts and images, through gateway and cluster."""
import json
import math
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile

import harness
import palmgrove_client
import wire

pb = wire.pb
SENTENCE = "the lungs are clear. no pneumothorax"
ENCODERS = [{"name": "state", "input_size": 14, "hidden_size": 40, "hidden_act": "gelu_tanh"},
            {"name": "pulse", "input_size": 3, "hidden_size": 25, "hidden_act": "gelu_tanh"}]


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), data[8 + size:]


def embedding_rows(model, ids):
    """Rows of the embedding matrix, bf16 widened."""
    header, data = read_safetensors(model / "model.safetensors")
    entry = header["language_model.embed_tokens.weight"]
    assert entry["dtype"] == "BF16"
    begin, width = entry["data_offsets"][0], entry["shape"][1]

    def row(i):
        halves = struct.unpack(f"<{width}H", data[begin + 2 * i * width:begin + 2 * (i + 1) * width])
        return list(struct.unpack(f"<{width}f", struct.pack(f"<{width}I", *(half << 16 for half in halves))))

    return [row(i) for i in ids]


def with_encoders(folder):
    """The model with two vector encoders of random weights."""
    target = pathlib.Path(folder) / "model"
    shutil.copytree(harness.MODEL, target)
    config = json.loads((target / "config.json").read_text())
    config["vector_encoders"] = ENCODERS
    (target / "config.json").write_text(json.dumps(config))
    header, data = read_safetensors(target / "model.safetensors")
    dice, width = random.Random(7), config["text_config"]["hidden_size"]
    for number, encoder in enumerate(ENCODERS):
        shapes = {"fc1.weight": [encoder["hidden_size"], encoder["input_size"]], "fc1.bias": [encoder["hidden_size"]],
                  "fc2.weight": [width, encoder["hidden_size"]], "fc2.bias": [width]}
        for name, shape in shapes.items():
            values = [dice.gauss(0, 1 / math.sqrt(shape[-1])) for _ in range(math.prod(shape))]
            header[f"vector_encoders.{number}.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
            data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    (target / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return target


def token_ids(text):
    result = subprocess.run([harness.PALMGROVE, "tokenize", harness.MODEL], input=text + "\n", capture_output=True, text=True, check=True)
    return [int(word) for word in result.stdout.split()]


def refused(client, part, word):
    """None when the part is refused with that word, else what happened."""
    try:
        client.generate(parts=["a", part], max_tokens=2)
    except palmgrove_client.PalmgroveError as error:
        return None if word in str(error) else f"'{error}' does not speak of '{word}'"
    return f"vectors that should be refused ('{word}') were answered"


def answers(client, case):
    """Texts, images and vectors in several orders, greedy and sampled, each with the digest of its logits."""
    dice = random.Random(3)
    state = palmgrove_client.vectors([[dice.gauss(0, 1) for _ in range(14)] for _ in range(3)], "state")
    pulse = palmgrove_client.vectors([[0.5, -1.0, 2.0]], "pulse")
    raw = palmgrove_client.vectors([[dice.gauss(0, 1) for _ in range(192)] for _ in range(40)])
    prompts = [[state, "then"], ["a", pulse, "b", state, case.png, "c"], [case.png, raw, "report:"], [raw, state, pulse, "x"]]
    found = []
    for prompt in prompts:
        for temperature in (0.0, 1.0):
            result = client.generate(parts=prompt, max_tokens=12, temperature=temperature, seed=5, logits_digest=True)
            found.append((list(result.ids), result.provenance.logits_digest, result.usage.prompt_tokens))
    return found


def embeddings_are_tokens(client):
    """A text's own embeddings in its place give its answer, to the bit."""
    ids = token_ids(SENTENCE)
    rows = embedding_rows(harness.MODEL, ids)
    text = client.generate(parts=[SENTENCE], max_tokens=16, logits_digest=True)
    same = [client.generate(parts=parts, max_tokens=16, logits_digest=True)
            for parts in ([palmgrove_client.vectors(rows)], [palmgrove_client.vectors(rows[:3]), palmgrove_client.vectors(rows[3:])])]
    other = client.generate(parts=[palmgrove_client.vectors([[1.5 * value for value in row] for row in rows])], max_tokens=16, logits_digest=True)
    digest = text.provenance.logits_digest
    return (all(one.provenance.logits_digest == digest and one.text == text.text and one.usage.prompt_tokens == text.usage.prompt_tokens for one in same)
            and other.provenance.logits_digest != digest)


def from_files(server, folder):
    """`palmgrove generate --vectors` sends what the Python client sends; a file with an error is named with its line."""
    good, bad = pathlib.Path(folder) / "state.txt", pathlib.Path(folder) / "bad.txt"
    good.write_text("# a state\n" + " ".join(["0.25"] * 14) + "\n" + ", ".join(["-1e-1"] * 14) + "\n")
    bad.write_text("1 2\n3 x4\n")
    command = [harness.PALMGROVE, "generate", "--endpoint", server.endpoint, "--text", "a", "--max-tokens", "8"]
    run = subprocess.run([*command, "--vectors", f"state={good}"], capture_output=True, text=True, check=False)
    broken = subprocess.run([*command, "--vectors", f"state={bad}"], capture_output=True, text=True, check=False)
    with server.client() as client:
        expected = client.generate(parts=["a", palmgrove_client.vectors([[0.25] * 14, [-0.1] * 14], "state")], max_tokens=8).text
    return run.returncode == 0 and run.stdout.strip() == expected.strip() and broken.returncode != 0 and "line 2" in broken.stderr


def vectors_check():
    """Vectors give the same bytes on every layout, again from shared prefixes, and where they replace a text's own embeddings."""
    faults, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = with_encoders(folder)
        case = harness.draw(folder, 0, 1)[0]
        for tp, pp in ((1, 1), (2, 2), (3, 1)):
            with harness.Server(tp, pp, model=model) as server:
                with server.client() as client:
                    found += [answers(client, case), answers(client, case)]  # the second time from what the first left
                    if (tp, pp) == (2, 2):
                        faults += [] if embeddings_are_tokens(client) else ["embeddings in a text's place change its answer"]
                        faults += [refused(client, palmgrove_client.vectors([[1.0] * 13], "state"), "14"),
                                   refused(client, palmgrove_client.vectors([[1.0] * 14]), "192"),
                                   refused(client, palmgrove_client.vectors([[1.0]], "smell"), "state, pulse"),
                                   refused(client, palmgrove_client.vectors([[float("nan")] * 14], "state"), "finite"),
                                   refused(client, pb.Part(vectors=pb.Vectors(width=0)), "width"),
                                   refused(client, palmgrove_client.vectors([[1.0] * 3] * 2000, "pulse"), "context")]
                if (tp, pp) == (1, 1):
                    faults += [] if from_files(server, folder) else ["--vectors of a file"]
    faults += [] if all(one == found[0] for one in found) else ["an answer depends on the layout or on what was there before"]
    faults += [] if len({digest for _, digest, _ in found[0]}) == len(found[0]) else ["different prompts have the same logits"]
    faults = [fault for fault in faults if fault]
    return not faults, f"{len(found[0])} prompts, {len(found)} times over 3 layouts" + "".join(f"; {fault}" for fault in faults)
