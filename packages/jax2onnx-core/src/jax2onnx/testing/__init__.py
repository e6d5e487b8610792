"""The test kit for plugins, and for programs that are exported.

Importing this package imports neither jax nor onnx: each name loads its module when it is first used.

A plugin's test file states what the plugin has, and the suites test it::

    from jax2onnx.testing import PluginSuite

    class TestPlugin(PluginSuite):
        plugin = "my-plugin"

:func:`assert_exports` exports one program and compares it with JAX. pytest has the fixtures ``isolated_plugins`` and
``temporary_plugin`` (:mod:`jax2onnx.testing.pytest_plugin`). :func:`cases` and :func:`run` run registered examples. For
programs of symbolic sizes there are :class:`Sized` and :func:`run_sized`. :class:`Runner` runs a model in onnxruntime,
:func:`draw` draws inputs, and :func:`compare` compares results under the tolerances of ``check``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx.checking.cases import STATIC_SIZE, Case, cases, operators, run, static, x64
    from jax2onnx.checking.compare import compare
    from jax2onnx.checking.dynamic import Sized, check_shapes, run_sized, select, validate
    from jax2onnx.checking.inputs import draw, nudge
    from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
    from jax2onnx.checking.sizes import concrete
    from jax2onnx.program.represent import represented
    from jax2onnx.testing.exports import assert_exports
    from jax2onnx.testing.fusion_suite import FusionSuite
    from jax2onnx.testing.opener_suite import OpenerSuite
    from jax2onnx.testing.plugin_suite import PluginSuite
    from jax2onnx.testing.rule_suite import RuleSuite
    from jax2onnx.testing.suite import Suite, Trial
    from jax2onnx.testing.target_suite import TargetSuite
    from jax2onnx.testing.temporary import TemporaryPlugins

__all__ = [
    "RUNTIME_ERRORS",
    "STATIC_SIZE",
    "Case",
    "FusionSuite",
    "OpenerSuite",
    "PluginSuite",
    "RuleSuite",
    "Runner",
    "Sized",
    "Suite",
    "TargetSuite",
    "TemporaryPlugins",
    "Trial",
    "assert_exports",
    "cases",
    "check_shapes",
    "compare",
    "concrete",
    "draw",
    "nudge",
    "operators",
    "represented",
    "run",
    "run_sized",
    "select",
    "static",
    "validate",
    "x64",
]

_MODULES = (
    "testing.temporary",
    "testing.exports",
    "testing.suite",
    "testing.fusion_suite",
    "testing.opener_suite",
    "testing.rule_suite",
    "testing.target_suite",
    "testing.plugin_suite",
    "checking.cases",
    "checking.compare",
    "checking.dynamic",
    "checking.inputs",
    "checking.runtime",
    "checking.sizes",
    "program.represent",
)
"""Where the names are."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = vars(importlib.import_module(f"jax2onnx.{module}"))
            if name in found.get("__all__", found):
                return globals().setdefault(name, found[name])
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
