"""The tokenizer and the exemplars of the checkpoint, from prompts that the engine's own C code renders."""

import io
import json
import pathlib

import sentencepiece

import corpus
import questions

TASKS = ("report", "vqa", "classify", "choice")
VOCABULARY = 1024
# The training case that answers each exemplar: cases with something to see.
EXEMPLAR_CASES = {"report": 1, "vqa": 5, "classify": 0, "choice": 7}
N_TOKENIZER_CASES = 3000


def exemplars(phantom):
    """{task: answered example with a literal <img>}, from training cases."""
    out = {}
    for task in TASKS:
        facts = phantom.case(corpus.TRAIN, EXEMPLAR_CASES[task])
        _, fields, answer = questions.ask(phantom, facts, "closed" if task == "vqa" else task, 1)
        prompt = "".join("<img>" if part is None else part for part in phantom.render(task, fields))
        out[task] = prompt.split("\n", 1)[1] + " " + answer
    return out


def tokenizer_lines(phantom):
    here = pathlib.Path(__file__).parent
    yield from (here / "general.txt").read_text().splitlines() * 20
    for index in range(N_TOKENIZER_CASES):
        facts = phantom.case(corpus.TRAIN, index)
        asked = [questions.ask(phantom, facts, "report", 0)]
        asked += [questions.ask(phantom, facts, kind, n) for kind in corpus.KINDS for n in range(2)]
        for task, fields, answer in asked:
            for part in phantom.render(task, fields):
                if part is not None:
                    yield from part.splitlines()
            yield answer


def train_tokenizer(phantom):
    """A serialized SentencePiece BPE model: byte fallback, whitespace kept exactly, no dummy prefix."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=tokenizer_lines(phantom),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    return model.getvalue()


def write(folder, phantom):
    """tokenizer.model and exemplars.json of a checkpoint; returns the tokenizer and the exemplars."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(train_tokenizer(phantom))
    (folder / "exemplars.json").write_text(json.dumps(exemplars(phantom), indent=2) + "\n")
    return read(folder)


def read(folder):
    folder = pathlib.Path(folder)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return tokenizer, json.loads((folder / "exemplars.json").read_text())
