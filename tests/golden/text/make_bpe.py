"""Makes the small tokenizers of tests/unit/test_bpe.c and what the reference library makes of texts with them.

    pip install tokenizers==0.23.1 gguf==0.19.0
    PYTHONPATH=../../conformance python make_bpe.py

One folder a kind: tokenizer.json (the reference's own writing; merges as strings in one of them), ids.txt (a text in hex, a colon, the ids
of tokenizer.encode), texts.txt (ids, a colon, the text of tokenizer.decode in hex).  gguf/ holds the vocabulary of `smollm` once more as
a GGUF file.  The corpus is made up here; the texts are those of the conformance check."""

import json
import pathlib
import random

import gguf
import token_lines
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
N_LINES, N_DECODED = 150, 150
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL


def corpus():
    sides, sizes = ("left", "right"), ("small", "moderate", "large")
    for finding in ("nodule", "effusion", "pneumothorax", "consolidation", "opacity"):
        for side in sides:
            for size in sizes:
                yield f"There is a {size} {finding} in the {side} lung.  The heart isn't enlarged; we'll see no fracture.\n"
                yield f"Impression: {size} {side} {finding}, 12 mm. \n\n"
    yield from ["日本語のテキスト、胸部X線\n", "Größe und Straße naïve é\n", "привет 😀 мир\n"] * 20


def split(pattern):
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), whole])


def begin_with(token, tokenizer):
    ids = [(token, tokenizer.token_to_id(token))]
    return processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(single=f"{token} $A", special_tokens=ids)])


def train(tokenizer, size, special, alphabet):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level(special, size=420, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, lambda: train(tokenizer, size, special, sorted(pre_tokenizers.ByteLevel.alphabet()))


def smollm():
    tokenizer, finish = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return finish()


def llama3():
    tokenizer, finish = byte_level(["<|begin_of_text|>", "<|eot_id|>"])
    tokenizer.pre_tokenizer = split(LLAMA3)
    finish()
    tokenizer.post_processor = begin_with("<|begin_of_text|>", tokenizer)
    return tokenizer


def qwen2():
    tokenizer, finish = byte_level(["<|endoftext|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split(QWEN2)
    finish()
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<tool>", normalized=False)])
    return tokenizer


def characters(prefix):
    """Llama 2's kind: merges of characters, bytes for the rest."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    steps = ([normalizers.Prepend("▁")] if prefix else []) + [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=special + [f"<0x{i:02X}>" for i in range(256)], show_progress=False)
    blank = "" if prefix else " "
    tokenizer.train_from_iterator((blank + word for line in corpus() for word in line.split(" ")), trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(state))


def random_ids(tokenizer, source):
    """Texts cut in the middle of characters, and any ids."""
    if source.random() < 0.5:
        ids = tokenizer.encode(token_lines.Writer(source.random()).text().decode()).ids
        begin = source.randrange(len(ids) + 1)
        return ids[begin : begin + source.randrange(20)]
    return [source.randrange(tokenizer.get_vocab_size()) for _ in range(source.randrange(12))]


def write(name, tokenizer, as_strings=False):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    state = json.loads(tokenizer.to_str())
    if as_strings:
        state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]
    if name == "llama3":
        state["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.encode_special_tokens = True
    (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")))
    with open(folder / "ids.txt", "w") as out:
        for line in ["", " ", "<tool_call>{}</tool_call><tool>", *(t.decode("utf-8", "replace") for t in token_lines.lines(N_LINES, b""))]:
            print(line.encode().hex() + ":" + " ".join(map(str, tokenizer.encode(line, add_special_tokens=False).ids)), file=out)
    if not name.startswith("characters"):  # whose reference spoils good bytes beside bad ones
        source = random.Random(5)
        with open(folder / "texts.txt", "w") as out:
            for _ in range(N_DECODED):
                ids = random_ids(tokenizer, source)
                print(" ".join(map(str, ids)) + ":" + tokenizer.decode(ids, skip_special_tokens=True).encode().hex(), file=out)
    return tokenizer


def write_gguf(tokenizer, path):
    state = json.loads(tokenizer.to_str())
    tokens = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    special = {token["content"] for token in state["added_tokens"]}
    path.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{'<|im_start|>' + m['role']}}{% endfor %}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write_gguf(write("smollm", smollm()), HERE / "gguf" / "vocabulary.gguf")
    write("llama3", llama3(), as_strings=True)
    write("qwen2", qwen2())
    write("characters", characters(prefix=False))
    write("characters-prefix", characters(prefix=True))
