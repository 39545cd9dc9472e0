"""What the programs of this folder share: a table of promises, measured one after the other, one line each."""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "tests/conformance"
BUILD = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build/release"))


def run(command, folder=ROOT, log=None, **extra):
    """(exit code, output, seconds)"""
    start = time.monotonic()
    done = subprocess.run([str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={**os.environ, **extra})
    return done.returncode, done.stdout, time.monotonic() - start


def tail(output, n=3):
    return " / ".join(output.strip().splitlines()[-n:])


class NotThere(Exception):
    """A reference or a checkpoint cannot be had."""


def outside(check, *options):
    """A program of tests/conformance in its environment: (exit code, output)."""
    command = ["sh", "-c", 'exec "$0" "$@" 2>"$PALMGROVE_STDERR"', CONFORMANCE / "run", check, "--", *options]
    if os.environ.get("PALMGROVE_CONFORMANCE_ENV") is None:
        command = command[:5] + [ROOT / "build/conformance"] + command[5:]
    with tempfile.NamedTemporaryFile("r", prefix="palmgrove-stderr-") as errors:
        code, output, _ = run(command, PALMGROVE_BUILD_DIR=str(BUILD), PALMGROVE_STDERR=errors.name)
        told = errors.read()
    if code == 77:
        raise NotThere("NOT MEASURED, the packages of tests/conformance/requirements.txt could not be installed")
    return code, output if code == 0 else output + told


def needs_packages(function):
    def measured(*arguments):
        try:
            return function(*arguments)
        except NotThere as reason:
            return False, str(reason)

    return measured


def check(module, name, *arguments):
    """A check of tests/e2e, imported when it is measured: it needs what the build makes."""
    import importlib

    return lambda: getattr(importlib.import_module(module), name)(*arguments)


def measure(function):
    """(verdict, figure); a check that breaks has fallen short."""
    try:
        held, figure = function()
    except Exception as failure:  # whatever went wrong belongs into this promise's line
        held, figure = False, f"{type(failure).__name__}: {tail(str(failure))}"
    return {True: "holds", False: "falls short", None: "not measured"}[held], figure


def build_first():
    if "PALMGROVE_BUILD_DIR" in os.environ:
        return True
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release"]):
        code, output, _ = run(command)
        if code != 0:
            print(output)
            return False
    return True


def main(promises, description, clean_up=lambda: None):
    """`promises`: rows of name, is it long, what is promised, what measures it: () -> (held, figure), held None when it cannot be measured."""
    cli = argparse.ArgumentParser(description=description.split("\n")[0])
    cli.add_argument("--full", action="store_true", help="measure the long ones as well")
    cli.add_argument("--only", action="append", metavar="NAME", help="measure this one")
    cli.add_argument("--list", action="store_true", help="list the promises")
    args = cli.parse_args()
    if args.list:
        for name, is_long, promise, _ in promises:
            print(f"{name:24}{'(--full) ' if is_long else ''}{promise}")
        return 0
    unknown = set(args.only or ()) - {name for name, *_ in promises}
    if unknown:
        sys.exit(f"no promise is called {', '.join(sorted(unknown))}; --list lists them")
    if not build_first():
        return 1
    held = short = 0
    for name, is_long, promise, function in promises:
        if args.only and name not in args.only:
            continue
        skipped = is_long and not args.full and not args.only
        verdict, figure = ("not measured", "use --full") if skipped else measure(function)
        held += verdict == "holds"
        short += verdict != "holds" and not skipped  # what cannot be measured counts as short
        print(f"{verdict:13} {promise}: {figure}", flush=True)
    clean_up()
    print(f"{held} held, {short} fell short")
    return 1 if short else 0
