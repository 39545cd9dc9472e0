"""A small command line: python -m palmgrove ENDPOINT report|generate|health|stats [INPUT]."""
from __future__ import annotations

import argparse
import dataclasses
import signal
import sys

from palmgrove import Client, PalmgroveError, image


def main() -> int:
    cli = argparse.ArgumentParser(prog="palmgrove-client", description="talk to a palmgrove server")
    cli.add_argument("endpoint", help="tcp://HOST:PORT or ipc:///PATH")
    cli.add_argument("command", choices=["report", "generate", "health", "stats"])
    cli.add_argument("input", nargs="?", help="report: an image file; generate: the text")
    cli.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of the report task")
    cli.add_argument("--frame", type=int, default=0, help="report: which frame of a DICOM file, from 0")
    cli.add_argument("--temperature", type=float, default=0.0)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--max-tokens", type=int, default=0)
    args = cli.parse_args()
    if args.command in ("report", "generate") and args.input is None:
        cli.error(f"{args.command} needs an input")
    if any("=" not in field for field in args.field):
        cli.error("--field is NAME=VALUE")
    try:
        with Client(args.endpoint) as client:
            if args.command in ("health", "stats"):
                for name, value in dataclasses.asdict(getattr(client, args.command)()).items():
                    print(f"{name}: {value}")
                return 0
            signal.signal(signal.SIGINT, lambda *_: client.cancel())
            options = {"on_text": lambda text: print(text, end="", flush=True), "temperature": args.temperature, "seed": args.seed,
                       "max_tokens": args.max_tokens}
            if args.command == "report":
                result = client.generate(task="report", fields=dict(field.split("=", 1) for field in args.field),
                                         images=[image(args.input, args.frame)], **options)
            else:
                result = client.generate([args.input], **options)
            print(f"\n{result.usage.completion_tokens} tokens, {result.timings.total_ms:.0f} ms, {result.provenance.model}", file=sys.stderr)
            return 0
    except (PalmgroveError, OSError, ValueError) as failure:
        print(f"palmgrove-client: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
