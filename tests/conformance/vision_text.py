"""From a directory and picture files to text: `palmgrove serve` and `palmgrove generate` against transformers' greedy.

LLaVA-Med-shaped and MedGemma-shaped checkpoints, random weights, the names of the originals and of both transformers layouts, a SentencePiece
vocabulary made here; PNG pictures of odd sizes go through the gateway as they are and through Pillow for the reference.  Chats and raw parts, one
and two pictures, layouts 1x1, 2x1, 1x2 and 3x2, small steps, and packed shards.  Texts are equal or the check fails."""

import argparse
import io
import logging
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece
import torch
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import preprocess  # noqa: E402
import vision  # noqa: E402
from families import Tally  # noqa: E402
from harness import PALMGROVE, Server, environment  # noqa: E402

MAX_TOKENS = 24
CONTROL = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
QUESTION = "Is there a nodule in the left lung?"
WORDS = (HERE / "texts/origin.txt").read_text()[:20000]


def vocabulary(dummy_prefix):
    """Gemma's way, with its pieces of line feeds, or Llama's, which begins every text with a blank."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS.splitlines()), model_writer=out, model_type="bpe", vocab_size=400, hard_vocab_limit=False, byte_fallback=True,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, control_symbols=CONTROL, user_defined_symbols=[] if dummy_prefix else ["\n", "\n\n", "\n\n\n", "\n\n\n\n"],
        add_dummy_prefix=dummy_prefix, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    return out.getvalue()


class Reference:
    """Ids of a prompt as its own library makes them, and the answer."""

    def __init__(self, net, tokenizer, image_token, n_rows, pixels_of):
        self.net, self.sp, self.image_token, self.n_rows, self.pixels_of = net, tokenizer, image_token, n_rows, pixels_of

    def ids(self, prompt):
        """Special tokens are cut out first; what stands between them is one text each.  "<image>" is an image."""
        out = [self.sp.bos_id()]
        while prompt:
            marks = [(prompt.find(mark), mark) for mark in [*CONTROL, "<image>"] if mark in prompt]
            at, mark = min(marks, default=(len(prompt), ""))
            out += self.sp.encode(prompt[:at]) if at else []
            out += [self.image_token] * self.n_rows if mark == "<image>" else [self.sp.piece_to_id(mark)] if mark else []
            prompt = prompt[at + len(mark) :]
        return out

    def answer(self, prompt, pictures):
        ids = torch.tensor([self.ids(prompt)])
        more = {"token_type_ids": (ids == self.image_token).long()} if "Gemma" in type(self.net).__name__ else {}
        pixels = torch.cat([self.pixels_of(picture) for picture in pictures])
        stops = [self.sp.eos_id()] + ([self.sp.piece_to_id("<end_of_turn>")] if more else [])
        out = self.net.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, do_sample=False, max_new_tokens=MAX_TOKENS, eos_token_id=stops, pad_token_id=0, **more)
        return self.sp.decode(out[0, ids.shape[1] :].tolist())  # control pieces are nothing, but bytes on both sides make no character


def ask(server, *arguments):
    command = [PALMGROVE, "generate", "--endpoint", server.endpoint, "--max-tokens", str(MAX_TOKENS), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment())
    if done.returncode != 0:
        return f"(failed: {done.stderr.decode(errors='replace').strip()[-300:]})"
    return done.stdout.decode().removesuffix("\n")


def check_served(tally, name, model, questions, options, layouts):
    """questions: name, arguments of generate, expected text"""
    for tp, pp, more in layouts:
        with Server(tp, pp, model, options=["--step-tokens", "64", *options, *more]) as server:
            for question, arguments, expected in questions:
                text = ask(server, *arguments)
                tally.line(f"{name} {tp}x{pp} {' '.join(more)}: {question}", text == expected, repr(text)[:60] if text == expected else f"{text!r} is not {expected!r}")


def pictures_in(folder):
    paths = []
    for i, (width, height, channels) in enumerate(((97, 61, 3), (33, 150, 1))):
        pixels = preprocess.picture(width, height, channels, 40 + i)
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(paths[-1])
    return paths


def loaded(path):
    pixels = np.asarray(Image.open(path))
    return pixels[..., None] if pixels.ndim == 2 else pixels


LAYOUTS = [(1, 1, []), (2, 1, []), (1, 2, ["--step-tokens", "30"]), (3, 2, [])]


def check_gemma(tally, folder):
    blob = vocabulary(False)
    sp = sentencepiece.SentencePieceProcessor(model_proto=blob)
    soft = sp.piece_to_id("<image_soft_token>")
    net = vision.build_gemma("gemma3_25", image_token=soft, vocab_size=sp.vocab_size())
    net.get_input_embeddings().weight.mul_(0.15)  # tied to the output: else every token is followed by itself
    side = net.config.vision_config.image_size
    processor = preprocess.Gemma3ImageProcessorPil(size={"height": side, "width": side})
    reference = Reference(net, sp, soft, 25, lambda p: processor(preprocess.rgb(loaded(p)), return_tensors="pt")["pixel_values"])
    first, second = pictures_in(folder)
    block = "\n\n<start_of_image><image><end_of_image>\n\n"
    chat = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"
    questions = [
        ("chat", ["--image", first, "--chat", QUESTION], reference.answer(chat.format(block + QUESTION), [first])),
        ("chat, two", ["--image", first, "--image", second, "--chat", QUESTION], reference.answer(chat.format(block + block + QUESTION), [first, second])),
        ("chat, between", ["--chat", "Compare", "--image", second, "--chat", "with", "--image", first, "--chat", "now."],
         reference.answer(chat.format(f"Compare{block}with{block}now."), [second, first])),
        ("raw parts", ["--text", "Look: ", "--image", second, "--text", QUESTION], reference.answer(f"Look: {block}{QUESTION}", [second])),
    ]  # fmt: skip
    for layout in ("4", "5"):
        vision.write(folder / layout, vision.config_of(net), vision.named(net, layout))
        (folder / layout / "tokenizer.model").write_bytes(blob)
        check_served(tally, f"MedGemma-shaped, names of transformers {layout}", folder / layout, questions, ["--chat", "gemma"], LAYOUTS if layout == "4" else LAYOUTS[:1])
    check_shards(tally, "MedGemma-shaped", folder / "4", folder / "shards", questions, ["--chat", "gemma"])


def check_llava(tally, folder):
    blob = vocabulary(True)
    sp = sentencepiece.SentencePieceProcessor(model_proto=blob)
    net = vision.build_llava("llava_mistral", image_token=0, vocab_size=sp.vocab_size())
    eye = net.config.vision_config
    mean, std = (torch.tensor(v)[:, None, None] for v in vision.OPENAI)

    def pixels_of(path):
        square = preprocess.expand_to_square(loaded(path), eye.image_size)
        return ((torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 255 - mean) / std)[None]

    reference = Reference(net, sp, 0, (eye.image_size // eye.patch_size) ** 2, pixels_of)
    first, second = pictures_in(folder)
    questions = [
        ("chat", ["--image", first, "--chat", QUESTION], reference.answer(f"[INST] <image>\n{QUESTION} [/INST]", [first])),
        ("chat, two", ["--image", first, "--image", second, "--chat", QUESTION], reference.answer(f"[INST] <image>\n<image>\n{QUESTION} [/INST]", [first, second])),
        ("raw parts", ["--text", "Look:", "--image", second, "--text", QUESTION], reference.answer(f"Look:<image>\n{QUESTION}", [second])),
    ]  # fmt: skip
    vision.write_llava_original(net, folder / "original", True)
    vision.write(folder / "4", vision.config_of(net), vision.named(net, "4"))
    vision.write(folder / "5", vision.config_of(net), vision.named(net, "5"))
    for form in ("original", "4", "5"):
        (folder / form / "tokenizer.model").write_bytes(blob)
        check_served(tally, f"LLaVA-Med-shaped, {form}", folder / form, questions, ["--chat", "mistral"], LAYOUTS if form == "original" else LAYOUTS[:1])
    check_shards(tally, "LLaVA-Med-shaped", folder / "original", folder / "shards", questions, ["--chat", "mistral"])


def check_shards(tally, name, model, out, questions, options):
    """Packed for 2 x 2 as they are; and in int8, tower and all, where only running is asked for."""
    done = subprocess.run([PALMGROVE, "shard", model, "--output", out, "--tp", "2", "--pp", "2", "--verify", "--quiet"], capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        tally.line(f"{name}, shards", False, done.stderr.strip()[-300:])
        return
    check_served(tally, f"{name}, shards", out, questions, options, [(2, 2, [])])
    quantised = [(question, arguments, None) for question, arguments, _ in questions[:1]]
    for tp, pp in ((1, 1), (2, 2)):
        with Server(tp, pp, model, options=["--step-tokens", "64", "--weights", "int8", *options]) as server:
            quantised[0] = (*quantised[0][:2], quantised[0][2] or ask(server, *quantised[0][1]))
            text = ask(server, *quantised[0][1])
            tally.line(f"{name}, int8 {tp}x{pp}", text == quantised[0][2] and not text.startswith("(failed"), repr(text)[:60])


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--only", choices=("gemma", "llava"))
    args = cli.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    tally = Tally()
    for name, check in (("gemma", check_gemma), ("llava", check_llava)):
        with tempfile.TemporaryDirectory(prefix="palmgrove-vision-") as folder:
            if args.only in (None, name):
                check(tally, pathlib.Path(folder))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
