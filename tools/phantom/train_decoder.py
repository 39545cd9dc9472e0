"""Stage 2: projector and decoder learn the tasks; the tower stays as stage 1 left it.

A sequence is one prompt of one image.  Questions of one task share their beginning (instruction, exemplar, image), so a
sequence carries several of them behind it; each sees the beginning and itself only, at the positions it would have
alone.  The loss is on answers."""

import time

import torch
from torch import nn
from torch.nn import functional as F

import corpus
import data
import halves
import model as phantom_model
import questions
import texts
import train_tower

IMAGE = -1  # marks the positions of the image vectors among token ids
N_IMAGE = corpus.GRID * corpus.GRID
BEGINNING = 0  # segment of the shared beginning; questions are 1, 2, ...
MIX = (("report", 0.50), ("open", 0.13), ("closed", 0.10), ("classify", 0.12), ("choice", 0.15))
QUESTIONS_PER_SEQUENCE = 6
EXEMPLAR_SHARE = 0.7  # the rest goes without, so that both work
ANSWER_WEIGHT = 2.0  # of a question's tokens against a report's: they are few
PEAK_RATE, EMBEDDING_RATE = 2e-3, 1e-2
REPORT_TOKENS = 100  # the longest reference has fewer


class Sequence:
    """Ids, positions, segments and targets under construction."""

    def __init__(self):
        self.ids, self.positions, self.segments, self.targets, self.weights = [], [], [], [], []

    def add(self, ids, start, segment, targets=None, weight=0.0):
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.segments += [segment] * len(ids)
        self.targets += targets or [0] * len(ids)
        self.weights += [weight if targets else 0.0] * len(ids)


def prompt_ids(tokenizer, parts):
    """-> (ids up to and with the image, ids after it)."""
    image = parts.index(None)
    before = [tokenizer.bos_id()] + [i for part in parts[:image] for i in tokenizer.encode(part)] + [IMAGE] * N_IMAGE
    return before, [i for part in parts[image + 1 :] for i in tokenizer.encode(part)]


class Writer:
    """Turns a case into a training sequence."""

    def __init__(self, phantom, tokenizer, exemplars):
        self.phantom, self.tokenizer, self.exemplars = phantom, tokenizer, exemplars

    def asked(self, facts, kind, random):
        if kind != "report":
            first = int(torch.randint(1 << 20, (1,), generator=random))
            return [questions.ask(self.phantom, facts, kind, first + n) for n in range(QUESTIONS_PER_SEQUENCE)]
        task, fields, answer = questions.ask(self.phantom, facts, "report", 0)
        if torch.rand(1, generator=random) < 0.1:
            del fields["view"]  # the default is used when a client does not know the view
        return [(task, fields, answer)]

    def sequence(self, facts, random):
        shares = torch.tensor([share for _, share in MIX])
        kind = MIX[int(torch.multinomial(shares, 1, generator=random))][0]
        with_exemplar = bool(torch.rand(1, generator=random) < EXEMPLAR_SHARE)
        out = Sequence()
        for segment, (task, fields, answer) in enumerate(self.asked(facts, kind, random), start=1):
            exemplar = self.exemplars[task] if with_exemplar else ""
            before, after = prompt_ids(self.tokenizer, self.phantom.render(task, fields, exemplar))
            if segment == 1:
                out.add(before, 0, BEGINNING)
            answer_ids = self.tokenizer.encode(answer)
            weight = 1.0 if task == "report" else ANSWER_WEIGHT
            n = len(before)
            out.add(after[:-1], n, segment)
            out.add(after[-1:] + answer_ids, n + len(after) - 1, segment, answer_ids + [self.tokenizer.eos_id()], weight)
        return out


class Sequences(data.Drawings):
    """Endless (image, sequence) pairs of the training namespace, and the collation into a batch."""

    def __init__(self, start, library, tokenizer_folder):
        super().__init__(corpus.TRAIN, start, library)
        self.folder = str(tokenizer_folder)

    def __iter__(self):
        phantom = corpus.Phantom(self.library)
        writer = Writer(phantom, *texts.read(self.folder))
        index = self.start
        while True:
            facts = phantom.case(self.space, index)
            width, height, grey, _ = phantom.draw(facts)
            random = torch.Generator().manual_seed(index)
            yield data.fit(width, height, grey), writer.sequence(facts, random)
            index += 1


def pad(rows, value):
    longest = max(len(row) for row in rows)
    return torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows])


def collate(pairs):
    sequences = [sequence for _, sequence in pairs]
    return {
        "images": torch.stack([image for image, _ in pairs]),
        "ids": pad([s.ids for s in sequences], 0),
        "positions": pad([s.positions for s in sequences], 0),
        "segments": pad([s.segments for s in sequences], -1),  # padding: a segment of its own
        "targets": pad([s.targets for s in sequences], 0),
        "weights": pad([s.weights for s in sequences], 0.0),
    }


def attention_mask(segments):
    """Causal, within one's own segment and the beginning."""
    query, key = segments.unsqueeze(2), segments.unsqueeze(1)
    seen = (query == key) | ((key == BEGINNING) & (query > BEGINNING))
    return seen.unsqueeze(1) & phantom_model.causal(segments.shape[1])


def loss_of(model, batch, piece):
    """Sum of weighted losses and, for the log, how many answer tokens were right."""
    ids, weights = batch["ids"][piece], batch["weights"][piece]
    with torch.no_grad():
        features = model.vision_tower(batch["images"][piece])
    x = model.language_model.embed_tokens(ids.clamp(min=0))
    x = x.masked_scatter((ids == IMAGE).unsqueeze(-1), model.projector(features).to(x.dtype))
    x = model.language_model(x, batch["positions"][piece], attention_mask(batch["segments"][piece]))
    counted = weights > 0
    logits = model.language_model.logits(x[counted]).float()
    targets = batch["targets"][piece][counted]
    losses = F.cross_entropy(logits, targets, reduction="none")
    return (losses * weights[counted]).sum(), (logits.argmax(-1) == targets).sum()


def run(model, library, folder, state, steps, batch, log, export):
    """Train projector and decoder; `export` is called now and then with the model so far."""
    opts = train_tower.optimizers([model.language_model, model.projector], PEAK_RATE, EMBEDDING_RATE)
    trained = [p for part in (model.projector, model.language_model) for p in part.parameters()]
    modules = {"model": model} | {f"opt{i}": opt for i, opt in enumerate(opts)}
    first = state.restore("decoder", **modules)
    stream = torch.utils.data.DataLoader(
        Sequences(10_000_000 + first * batch, library, folder), batch, num_workers=1, collate_fn=collate, prefetch_factor=4
    )
    stream, started = iter(stream), time.time()
    for step in range(first, steps):
        train_tower.set_rate(opts, step, steps)
        item = next(stream)
        total = item["weights"].sum()

        def backward(piece):
            loss, right = loss_of(model, item, piece)
            (loss / total).backward()
            return torch.stack([loss.detach() / total, right / (item["weights"] > 0).sum()])

        half = len(item["ids"]) // 2
        loss, right = sum(halves.both(backward, slice(0, half), slice(half, None)))
        nn.utils.clip_grad_norm_(trained, 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        if step % 20 == 0:
            log(f"decoder {step}/{steps} loss {loss:.4f} right {right:.3f} {time.time() - started:.0f} s")
        if step % 200 == 199 or step == steps - 1:
            state.keep("decoder", step + 1, **modules)
            export(model)
            log("validation " + validate(model, library, folder))


@torch.no_grad()
def embed_prompts(model, tokenizer, prompts, images):
    """Rows [position, width] of rendered prompts, one image each."""
    with torch.autocast("cpu", torch.bfloat16):
        vectors = model.projector(model.vision_tower(torch.stack(images))).float()
    rows = []
    for parts, image in zip(prompts, vectors):
        before, after = prompt_ids(tokenizer, parts)
        ids = torch.tensor(before[:-N_IMAGE]), torch.tensor(after)
        rows.append(torch.cat([model.language_model.embed_tokens(ids[0]), image, model.language_model.embed_tokens(ids[1])]))
    return rows


@torch.no_grad()
def validate(model, library, folder, n=64, space=corpus.VALIDATION):
    """Finding micro-F1 of greedy reports, and accuracy of one question of each kind per case."""
    phantom = corpus.Phantom(library)
    tokenizer, exemplars = texts.read(folder)
    cases = [phantom.case(space, index) for index in range(n)]
    images = [data.fit(*phantom.draw(facts)[:3]) for facts in cases]
    scores = []
    for kind in ("report", *corpus.KINDS):
        said, truth = [], []
        for start in range(0, n, 32):
            piece = slice(start, start + 32)
            asked = [questions.ask(phantom, facts, kind, 0) for facts in cases[piece]]
            prompts = [phantom.render(task, fields, exemplars[task]) for task, fields, _ in asked]
            rows = embed_prompts(model, tokenizer, prompts, images[piece])
            with torch.autocast("cpu", torch.bfloat16):
                ids = phantom_model.greedy(model, rows, REPORT_TOKENS if kind == "report" else 16)
            said += [tokenizer.decode(row) for row in ids]
            truth += [answer for _, _, answer in asked]
        if kind == "report":
            scores.append(f"F1 {finding_f1(phantom, said, cases):.3f} exact {sum(map(str.__eq__, said, truth)) / n:.3f}")
        else:
            scores.append(f"{kind} {sum(map(str.__eq__, said, truth)) / n:.3f}")
    return " ".join(scores)


def finding_f1(phantom, reports, cases):
    hit = wrong = missed = 0
    for report, facts in zip(reports, cases):
        said, true = phantom.findings(report), phantom.labels(facts)
        hit += (said & true).bit_count()
        wrong += (said & ~true).bit_count()
        missed += (true & ~said).bit_count()
    return 2 * hit / max(1, 2 * hit + wrong + missed)
