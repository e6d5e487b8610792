"""The target ``web``: one file, whatever its size."""

import numpy as np
import onnx
import pytest

from jax2onnx import save_onnx, to_onnx


@pytest.mark.parametrize("way", ["save_onnx", "to_onnx"])
def test_a_model_for_the_web_is_one_file(way, tmp_path, monkeypatch):
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    monkeypatch.setattr("jax2onnx.api.EXTERNAL_DATA_THRESHOLD", 1024)  # large models are slow to test
    path = tmp_path / "page.onnx"
    if way == "save_onnx":
        save_onnx(lambda x: x @ weights, [("B", 64)], path, target="web")
    else:
        to_onnx(lambda x: x @ weights, [("B", 64)], target="web", return_mode="file", output_path=path)
    assert [found.name for found in tmp_path.iterdir()] == ["page.onnx"]
    assert onnx.load(path, load_external_data=False).graph.initializer[0].raw_data == weights.tobytes()
