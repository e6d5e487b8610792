"""``python -m jax2onnx``: the command line."""

import contextlib
import os
import sys

# Python puts the working directory first for ``-m``, and what is named onnx.py there is not ours to execute.
with contextlib.suppress(FileNotFoundError):  # of a working directory that is gone
    if sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib is not imported yet
        del sys.path[0]

from jax2onnx.cli.main import main

main()
