"""``python -m jax2onnx``: the command line."""

from jax2onnx.cli.main import main

main()
