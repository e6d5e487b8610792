"""``python -m jax2onnx``: the command line."""

from jax2onnx.cli import main

main()
