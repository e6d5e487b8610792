"""Every example of the package, static and dynamic, with fusions and without."""

import pytest

from jax2onnx.testing import Case, cases, run


@pytest.mark.parametrize("case", cases("examples"), ids=str)
def test_example(case: Case) -> None:
    run(case)
