"""The fusion engine on flax.nnx layers; flax is not a dependency of core, so these need it installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from fusing import fusion
from programs import FACTS, array, flat

from jax2onnx.fusion.fuse import fuse

nnx = pytest.importorskip("flax.nnx")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jax2onnx.plugin.fusions import Candidate


def module(layer: Callable[..., Any], *sizes: Any, params: Mapping[str, Any], **options: Any) -> Any:
    made = layer(*sizes, rngs=nnx.Rngs(0), **options)
    for name, value in params.items():
        setattr(made, name, type(getattr(made, name))(value))
    return made


def linear(x: Any, kernel: Any, bias: Any) -> Any:
    return module(nnx.Linear, *kernel.shape, params={"kernel": kernel, "bias": bias})(x)


def layer_norm(x: Any, scale: Any, bias: Any, epsilon: Any) -> Any:
    return module(nnx.LayerNorm, x.shape[-1], params={"scale": scale, "bias": bias}, epsilon=epsilon)(x)


def rms_norm(x: Any, scale: Any, epsilon: Any) -> Any:
    return module(nnx.RMSNorm, x.shape[-1], params={"scale": scale}, epsilon=epsilon)(x)


def batch_norm(  # noqa: PLR0917 - the arrays of the layer, in its order
    x: Any, mean: Any, var: Any, scale: Any, bias: Any, epsilon: Any
) -> Any:
    params = {"mean": mean, "var": var, "scale": scale, "bias": bias}
    return module(nnx.BatchNorm, x.shape[-1], params=params, epsilon=epsilon, use_running_average=True)(x)


def group_norm(x: Any, scale: Any, bias: Any, epsilon: Any, *, groups: int = 2) -> Any:
    params = {"scale": scale, "bias": bias}
    return module(nnx.GroupNorm, x.shape[-1], params=params, epsilon=epsilon, num_groups=groups)(x)


def groups(candidate: Candidate) -> list[Mapping[str, Any]]:
    return [{"groups": candidate.params("reshape")[0]["new_sizes"][-2]}]


FUSIONS = [
    fusion("linear", linear, [[(2, 3), (3, 5), (5,)], [(2, 2, 3), (3, 5), (5,)]]),
    fusion("layer_norm", layer_norm, [[(2, 3), (3,), (3,), ()], [(2, 5, 3), (3,), (3,), ()]]),
    fusion("rms_norm", rms_norm, [[(2, 3), (3,), ()], [(2, 5, 3), (3,), ()]]),
    fusion("batch_norm", batch_norm, [[(2, 3), (3,), (3,), (3,), (3,), ()]]),
    fusion("group_norm", group_norm, [[(2, 6), (6,), (6,), ()], [(2, 5, 6), (6,), (6,), ()]], kwargs=groups),
    fusion("gelu", jax.nn.gelu, [[(2, 3)]]),
    fusion("attention", jax.nn.dot_product_attention, [[(2, 5, 3, 4)] * 3]),
]


def names(layer: Callable[..., Any], *dims: Any, dtype: Any = jnp.float32) -> list[str]:
    program = flat(lambda x: layer(x), array(*dims, dtype=dtype))  # noqa: PLW0108 - modules are not functions
    return [e.primitive for e in fuse(program, FUSIONS, FACTS, opset=23).eqns]


LAYERS = {
    "linear": lambda rngs, **k: nnx.Linear(6, 4, rngs=rngs, **k),
    "layer_norm": lambda rngs, **k: nnx.LayerNorm(6, epsilon=1e-3, rngs=rngs, **k),
    "rms_norm": lambda rngs, **k: nnx.RMSNorm(6, rngs=rngs, **k),
    "batch_norm": lambda rngs, **k: nnx.BatchNorm(6, use_running_average=True, rngs=rngs, **k),
    "group_norm": lambda rngs, **k: nnx.GroupNorm(6, num_groups=3, rngs=rngs, **k),
}


@pytest.mark.parametrize("shape", [(7, 6), (2, 7, 6), (2, 3, 7, 6), "B, 6", "B, T, 6", "B, H, W, 6"], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_finds_layer(name: str, shape: Any) -> None:
    dims = jax.export.symbolic_shape(shape) if isinstance(shape, str) else shape
    layer = LAYERS[name](nnx.Rngs(0))
    assert names(layer, *dims) == [name]
    assert names(jax.checkpoint(nnx.jit(layer)), *dims) == [name]


@pytest.mark.parametrize("name", LAYERS)
def test_finds_layer_in_bfloat16(name: str) -> None:
    layer = LAYERS[name](nnx.Rngs(0), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    # Running statistics are float32 whatever the parameters are; their conversion is no part of the layer.
    assert [n for n in names(layer, 2, 7, 6, dtype=jnp.bfloat16) if n != "convert_element_type"] == [name]


def test_binds_parameters_in_order() -> None:
    avals = [array(*shape) for shape in ((2, 6), (6,), (6,), ())]
    program = fuse(flat(layer_norm, *avals), FUSIONS, FACTS, opset=23)
    assert [e.primitive for e in program.eqns if e.fused] == ["layer_norm"]
    assert program.eqns[-1].inputs == program.inputs


def test_finds_a_transformer_block() -> None:
    rngs = nnx.Rngs(0)
    norm, up = nnx.LayerNorm(8, rngs=rngs), nnx.Linear(8, 16, rngs=rngs)
    attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)

    def block(x: jax.Array) -> jax.Array:
        return jax.nn.gelu(up(norm(x + attention(x))))

    batch, length = jax.export.symbolic_shape("B, T")
    found = [n for n in names(block, batch, length, 8) if n in {f.name for f in FUSIONS}]
    assert found == ["attention", "layer_norm", "linear", "gelu"]


@pytest.mark.parametrize("options", [{"use_bias": False}, {"reduction_axes": (1, 2)}, {"use_fast_variance": False}])
def test_other_layer_norms_stay(options: Mapping[str, Any]) -> None:
    layer = nnx.LayerNorm(6, rngs=nnx.Rngs(0), **options)
    assert "layer_norm" not in names(layer, 2, 7, 6)
