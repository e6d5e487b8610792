"""Target runtimes: which operators a runtime can execute, at which opsets and dtypes.

A table is data, generated from a runtime's own list of kernels by ``python -m jax2onnx.legalise.targets.generate``. The
default target is onnxruntime's CPU provider, from the oldest onnxruntime that jax2onnx supports, so that models load
in newer ones; for opsets which that one does not load, from a newer one. The target ``onnx`` stands for the
specification itself: every operator, every dtype.
"""

from jax2onnx.legalise.targets.tables import DEFAULT, from_table, load, names, read
from jax2onnx.legalise.targets.target import SPECIFICATION, Kernel, Target

__all__ = ["DEFAULT", "SPECIFICATION", "Kernel", "Target", "from_table", "load", "names", "read"]
