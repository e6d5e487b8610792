"""Every example of the plugin, static and dynamic, with fusions and without."""

import pytest

from jax2onnx.testing import Case, cases, run


@pytest.mark.parametrize("case", cases("equinox"), ids=str)
def test_example(case: Case) -> None:
    run(case)
