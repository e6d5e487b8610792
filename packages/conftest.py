"""Which tests of a parallel run stay together."""  # noqa: INP001

from __future__ import annotations

import pytest

from jax2onnx.testing import Case


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the cases of one example in one process, where JAX has compiled what they share."""
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if isinstance(case, Case):
            item.add_marker(pytest.mark.xdist_group(f"{case.example.context}.{case.example.name}"))
