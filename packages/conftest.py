"""Which tests of a parallel run stay together."""  # noqa: INP001

from __future__ import annotations

import pytest

from jax2onnx.testing import Case, Trial


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the cases of one example in one process, where JAX has compiled what they share."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        case, trial = params.get("case"), params.get("trial")
        if isinstance(case, Case):
            item.add_marker(pytest.mark.xdist_group(f"{case.example.context}.{case.example.name}"))
        elif isinstance(trial, Trial) and trial.group:
            item.add_marker(pytest.mark.xdist_group(trial.group))
