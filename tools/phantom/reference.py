"""PyTorch's greedy texts for held-out prompts, in f32, one JSON object a line.

    python reference.py MODEL_DIR [N]

Each line: seed (of the drawing), task, fields, parts (text, or null for the image), ids (of the answer, without the end),
text, and truth (the reference answer)."""

import json
import sys

import torch

import corpus
import data
import model
import questions
import texts

ROUND = ("report", "open", "closed", "classify", "choice")
MAX_TOKENS = 128


def held_out_prompts(phantom, exemplars, n):
    """n prompts over the held-out cases, the kinds in turn: (facts, task, fields, parts, truth)."""
    for index in range(n):
        facts, kind = phantom.case(corpus.HELD_OUT, index), ROUND[index % len(ROUND)]
        task, fields, truth = questions.ask(phantom, facts, kind, 0)
        yield facts, task, fields, phantom.render(task, fields, exemplars[task]), truth


def as_ids(tokenizer, parts):
    """Id lists and None for the image; the first starts with <s>."""
    ids = [None if part is None else tokenizer.encode(part) for part in parts]
    return [[tokenizer.bos_id()] + ids[0]] + ids[1:]


def prompts_as_ids(folder, n):
    phantom = corpus.Phantom()
    tokenizer, exemplars = texts.read(folder)
    for facts, _, _, parts, _ in held_out_prompts(phantom, exemplars, n):
        yield as_ids(tokenizer, parts), data.fit(*phantom.draw(facts)[:3])


@torch.no_grad()
def answer(folder, requests, batch=32):
    """Greedy answers to (facts, task, fields), in batches; for scores, where the last bit does not matter."""
    phantom, net = corpus.Phantom(), model.load(folder)
    tokenizer, exemplars = texts.read(folder)
    said = []
    for start in range(0, len(requests), batch):
        rows = []
        for facts, task, fields in requests[start : start + batch]:
            image = data.fit(*phantom.draw(facts)[:3])
            parts = as_ids(tokenizer, phantom.render(task, fields, exemplars[task]))
            rows.append(net.embed(parts, net.projector(net.vision_tower(image.unsqueeze(0))))[0])
        said += [tokenizer.decode(ids) for ids in model.greedy(net, rows, MAX_TOKENS)]
    return said


@torch.no_grad()
def greedy_lines(folder, n):
    phantom, net = corpus.Phantom(), model.load(folder)
    tokenizer, exemplars = texts.read(folder)
    for facts, task, fields, parts, truth in held_out_prompts(phantom, exemplars, n):
        image = data.fit(*phantom.draw(facts)[:3])
        vectors = net.projector(net.vision_tower(image.unsqueeze(0)))
        prompt = net.embed(as_ids(tokenizer, parts), vectors)[0]
        ids = model.greedy(net, [prompt], MAX_TOKENS)[0]
        yield json.dumps(
            {
                "seed": facts.seed,
                "task": task,
                "fields": fields,
                "parts": parts,
                "ids": ids,
                "text": tokenizer.decode(ids),
                "truth": truth,
            }
        )


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    for line in greedy_lines(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 60):
        print(line)


if __name__ == "__main__":
    main()
