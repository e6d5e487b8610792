"""Programs in plain JAX, a short file each."""

from __future__ import annotations

from jax2onnx.plugin import Example
from jax2onnx_examples.programs import detector, gaussian_process, graph_network, ode

ALL: tuple[Example, ...] = (*detector.EXAMPLES, *gaussian_process.EXAMPLES, *graph_network.EXAMPLES, *ode.EXAMPLES)
