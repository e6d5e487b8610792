"""Blocks: splitting, transposing and merging dims is one node, where that is as fast."""

from __future__ import annotations

import pytest

STEPS = "c = Reshape(a, split) d = Transpose<perm = PERM>(c) e = Reshape(d, last)"


def graph(shape: str, split: str, perm: str, last: str, *, images: bool = True, rest: str = "y = Relu(e)") -> str:
    """Return a graph of three steps; with ``images`` after a transpose from channels-first."""
    head = "a = TO_NHWC(x)" if images else "a = Neg(x)"
    steps = STEPS.replace("PERM", perm)
    out = "float[s0,s1,s2,s3] y" if rest == "y = Relu(e)" else "float[s0,s1,s2,s3] y, float[t0,t1,t2,t3,t4,t5] z"
    declared = f"int64[{len(split.split(','))}] split = {{{split}}}, int64[4] last = {{{last}}}"
    return f"(float[{shape}] x) => ({out}) <{declared}> {{ {head} {steps} {rest} }}"


CASES = {
    "depth to space after images": (
        graph("N,8,4,5", "0,4,5,2,2,2", "[0, 1, 3, 2, 4, 5]", "0,8,10,2"),
        {"DepthToSpace": 1, "Reshape": 0, "Transpose": 1},
    ),
    "depth to space, channels outside": (
        graph("N,8,4,5", "0,4,5,2,2,2", "[0, 1, 4, 2, 5, 3]", "0,8,10,2"),
        {"DepthToSpace": 1, "Reshape": 0, "Transpose": 1},
    ),
    "space to depth after images": (
        graph("N,3,4,6", "0,2,2,3,2,3", "[0, 1, 3, 2, 4, 5]", "0,2,3,12"),
        {"SpaceToDepth": 1, "Reshape": 0, "Transpose": 1},
    ),
    "depth to space, channels first": (
        graph("N,18,4,5", "0,2,3,3,4,5", "[0, 1, 4, 2, 5, 3]", "0,2,12,15", images=False),
        {"DepthToSpace": 1, "Reshape": 0, "Transpose": 0},
    ),
    "depth to space, channels first and inside": (
        graph("N,18,4,5", "0,3,3,2,4,5", "[0, 3, 4, 1, 5, 2]", "0,2,12,15", images=False),
        {"DepthToSpace": 1, "Reshape": 0, "Transpose": 0},
    ),
    "space to depth, channels first": (
        graph("N,3,4,6", "0,3,2,2,3,2", "[0, 3, 5, 1, 2, 4]", "0,12,2,3", images=False),
        {"SpaceToDepth": 1, "Reshape": 0, "Transpose": 0},
    ),
    "space to depth, places inside": (
        graph("N,3,4,6", "0,2,2,3,2,3", "[0, 1, 3, 5, 2, 4]", "0,2,3,12"),
        {"SpaceToDepth": 1, "Gather": 1, "Reshape": 0, "Transpose": 1},
    ),
    "space to depth, places inside, without images": (
        graph("N,3,4,6", "0,3,2,2,3,2", "[0, 1, 3, 5, 2, 4]", "0,12,2,3", images=False),
        {"SpaceToDepth": 0, "Reshape": 2, "Transpose": 1},
    ),
    "shuffled channels": (
        graph("N,6,4,5", "0,4,5,2,3", "[0, 1, 2, 4, 3]", "0,4,5,6"),
        {"Gather": 1, "Reshape": 0, "Transpose": 1},
    ),
    "channels last without images": (
        graph("N,4,5,8", "0,4,5,2,2,2", "[0, 1, 3, 2, 4, 5]", "0,8,10,2", images=False),
        {"DepthToSpace": 0, "Reshape": 2},
    ),
    "blocks that are no squares": (
        graph("N,12,4,5", "0,4,5,2,3,2", "[0, 1, 3, 2, 4, 5]", "0,8,15,2"),
        {"DepthToSpace": 0, "Reshape": 2},
    ),
    "another order of the dims": (
        graph("N,8,4,5", "0,4,5,2,2,2", "[0, 1, 4, 2, 3, 5]", "0,8,10,2"),
        {"DepthToSpace": 0, "Reshape": 2},
    ),
    "another shape at the end": (
        graph("N,8,4,5", "0,4,5,2,2,2", "[0, 1, 3, 2, 4, 5]", "0,10,8,2"),
        {"DepthToSpace": 0, "Reshape": 2},
    ),
    "blocks that something else reads": (
        graph("N,8,4,5", "0,4,5,2,2,2", "[0, 1, 3, 2, 4, 5]", "0,8,10,2", rest="y = Relu(e) z = Relu(d)"),
        {"DepthToSpace": 0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_blocks(case: str, graphs) -> None:
    graphs.check(*CASES[case])
