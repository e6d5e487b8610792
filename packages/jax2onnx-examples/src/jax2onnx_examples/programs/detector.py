"""A detector that suppresses all boxes but the best of those that overlap: how many are left depends on the image."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx import onnx_op
from jax2onnx.plugin import Example
from jax2onnx_examples._describe import PROGRAMS, normal

WIDTH, CLASSES, MOST, OVERLAP = 8, 3, 5, 0.5
_RNG = np.random.default_rng(0)
CORNERS = _RNG.normal(size=(WIDTH, 2)).astype(np.float32)
SCORES = _RNG.normal(size=(WIDTH, CLASSES)).astype(np.float32)

Array = np.ndarray[Any, Any]


def overlap(box: Array, other: Array) -> float:
    """Return how much of two boxes (top, left, bottom, right) is in both."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    inside = np.prod(np.maximum(high - low, 0))
    return float(inside / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - inside))


def suppressed(boxes: jax.Array, scores: jax.Array, most: int, threshold: float) -> Array:
    """Return image, class and number of the boxes that are kept, of each class those with the best scores first."""
    all_boxes, all_scores = np.asarray(boxes), np.asarray(scores)
    rows: list[tuple[int, int, int]] = []
    for image, label in np.ndindex(*all_scores.shape[:2]):
        kept: list[int] = []
        for box in np.argsort(-all_scores[image, label], kind="stable"):
            is_new = all(overlap(all_boxes[image, box], all_boxes[image, other]) <= threshold for other in kept)
            if is_new and len(kept) < most:
                kept.append(int(box))
        rows += [(image, label, box) for box in kept]
    return np.array(rows, np.int32).reshape(-1, 3)


def detect(features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Map features (batch, anchors, width) to boxes (kept, 4), scores (kept,) and classes (kept,)."""
    corners = jax.nn.sigmoid(features @ CORNERS)
    boxes = jnp.concatenate([corners, corners + 0.3], -1)
    scores = jnp.swapaxes(jax.nn.sigmoid(features @ SCORES), 1, 2)
    rows = onnx_op("NonMaxSuppression", boxes, scores, MOST, OVERLAP, out="int32[N,3]", reference=suppressed)
    image, label, box = rows[:, 0], rows[:, 1], rows[:, 2]
    return boxes[image, box], scores[image, label, box], label


EXAMPLES = [
    Example(
        name="detector",
        context=PROGRAMS,
        component="jax2onnx.onnx_op",
        make=lambda: detect,
        inputs=[("B", "A", WIDTH)],
        values=normal(3, 3, WIDTH),
        draw=False,  # boxes of equal scores have no order
        operators={"NonMaxSuppression": 1},
    )
]
