#!/usr/bin/python3
"""The Python client at its old path: proto/client/python/palmgrove, which pip can install (its README.md)."""
import os
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [*filter(None, [os.environ.get("PALMGROVE_PYTHON")]), str(here.parent / "proto/client/python")]

from palmgrove import *  # noqa: E402, F403
from palmgrove import palmgrove_pb2 as pb  # noqa: E402, F401
from palmgrove.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
