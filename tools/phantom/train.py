"""Make the phantom checkpoint: tokenizer, exemplars, tower (stage 1), projector and decoder (stage 2).

    OMP_NUM_THREADS=1 python train.py --state STATE_FOLDER --out models/phantom

Seeds are fixed.  A second start with the same --state goes on where the first one ended."""

import argparse
import os
import pathlib
import shutil

import torch

import corpus
import model
import texts
import train_decoder
import train_tower


class State:
    """Checkpoints of the training itself: one file per stage, replaced in one step."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def restore(self, stage, **modules):
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            return 0
        kept = torch.load(path)
        for name, module in modules.items():
            module.load_state_dict(kept[name])
        return kept["step"]

    def keep(self, stage, step, **modules):
        path = self.folder / f"{stage}.pt"
        torch.save({"step": step} | {name: module.state_dict() for name, module in modules.items()}, f"{path}.new")
        os.replace(f"{path}.new", path)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", required=True, help="folder for the training's own checkpoints")
    parser.add_argument("--out", default=str(corpus.ROOT / "models" / "phantom"))
    parser.add_argument("--tower-steps", type=int, default=850)
    parser.add_argument("--decoder-steps", type=int, default=1000)
    parser.add_argument("--tower-batch", type=int, default=32)
    parser.add_argument("--decoder-batch", type=int, default=16)
    return parser.parse_args()


def main():
    args = arguments()
    state, log = State(args.state), lambda line: print(line, flush=True)
    # A copy in the state folder: the training keeps its drawings whatever happens to the sources meanwhile.
    library = state.folder / "phantom.so"
    if not library.exists():
        shutil.copy(corpus.build(), library)
    if not (state.folder / "tokenizer.model").exists():
        texts.write(state.folder, corpus.Phantom(library))
    tokenizer, _ = texts.read(state.folder)

    torch.manual_seed(1)
    net = model.PalmE(model.config(tokenizer.vocab_size()))

    def export(current):
        model.save(current, args.out)
        for name in ("tokenizer.model", "exemplars.json"):
            shutil.copy(state.folder / name, args.out)

    train_tower.run(net, library, state, args.tower_steps, args.tower_batch, log)
    train_decoder.run(net, library, state.folder, state, args.decoder_steps, args.decoder_batch, log, export)


if __name__ == "__main__":
    main()
