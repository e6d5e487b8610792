"""Faults that scripts/diagnose.py plants: programs, and what is made wrong in their models, rules or rewrites."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax import nnx
from jax import lax
from onnx import helper, numpy_helper

from jax2onnx import onnx_function
from jax2onnx.plugin.loader import load
from jax2onnx.tidy import tidy as tidying
from jax2onnx.tidy.rules import Rewrite

Plant = Callable[[onnx.ModelProto], str]
ORDINARY: Mapping[str, Any] = MappingProxyType({"kinds": ["ordinary"], "sizes": [5]})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault.

    Attributes:
        name: what is wrong.
        where: where it is: in straight code, in a loop, in a function, under vmap.
        culprit: who is at fault.
        fn: the program.
        inputs: its specs.
        line: text in the user's line that is to be named.
        plant: makes a model wrong; returns the name of the first result of the node that is at fault.
        operators: operators of which the node is one, where nothing is planted in the model.
        broken: while it is entered, exports go wrong.
        options: of the export.
        comparison: options of the comparison.
        x64: whether 64-bit types are on.
    """

    name: str
    where: str
    culprit: str
    fn: Any
    inputs: Sequence[Any]
    line: str
    plant: Plant | None = None
    operators: frozenset[str] = frozenset()
    broken: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    options: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] = ORDINARY
    x64: bool = False


# -- programs --------------------------------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
BIAS = np.random.default_rng(1).standard_normal(6).astype(np.float32)
KERNEL = np.random.default_rng(2).standard_normal((3, 3, 2, 4)).astype(np.float32)


def straight(x):
    y = jnp.sin(x)
    y = y + 1.5
    y = jnp.cos(y) * x
    return y - 0.25


def dense(x):
    y = x @ WEIGHTS
    y = y + BIAS
    y = jax.nn.gelu(y)
    y = jax.nn.softmax(y, axis=-1)
    return jnp.sqrt(y) * 3.0


def shapes(x):
    y = x[:, 1:5]
    y = jnp.pad(y, ((0, 0), (1, 1)), constant_values=2.0)
    z = jnp.concatenate([y, x * 2], axis=1)
    z = jnp.swapaxes(z.reshape(-1, 3, 4), 1, 2)
    return jnp.take(z, jnp.array([2, 0, 1]), axis=2) + z


def square(x):
    y = x.T
    return y + jnp.arange(5.0)[:, None] * x


def images(x):
    y = lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = jax.nn.relu(y)
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return y.mean(axis=(1, 2)) * 2.0


def normal(x):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + 1e-2) * BIAS


def scanned(x):
    def step(carry, row):
        carry = jnp.tanh(carry + row)
        out = carry * 3.0
        return carry * 0.5, out

    last, rows = lax.scan(step, jnp.ones(x.shape[1:]), x)
    return rows + last


def backwards(x):
    def step(carry, row):
        return carry * 0.5 + row, jnp.exp(carry)

    return lax.scan(step, x[0], x, reverse=True)[1]


def looped(x):
    def body(state):
        number, y = state
        y = jnp.sin(y) + y
        return number + 1, y * 0.75

    return lax.while_loop(lambda state: state[0] < 5, body, (0, x))[1]


def counted(x):
    def body(i, y):
        return y.at[i].set(jnp.cos(y[i]) + i)

    return lax.fori_loop(0, 4, body, x)


def branched(x):
    def yes(y):
        return jnp.exp(y) - 1.0

    def no(y):
        return jnp.sin(y) * 4.0

    return lax.cond(x.sum() > 1e6, yes, no, x) + x


@onnx_function
def part(x):
    y = jnp.exp(x * 0.5)
    return jnp.tanh(y) + x


def function(x):
    y = part(x)
    return part(y * 2.0) - 1.0


@onnx_function
def with_loop(x):
    def step(carry, row):
        carry = carry + jnp.sin(row)
        return carry, carry * 2.0

    return lax.scan(step, jnp.zeros(x.shape[1:]), x)[1]


def loop_in_function(x):
    return with_loop(x) * 0.5


def nested(x):
    def outer(carry, row):
        def inner(total, value):
            total = total * 0.5 + jnp.cos(value)
            return total, total

        total, values = lax.scan(inner, carry, row)
        return total, values.sum()

    return lax.scan(outer, jnp.float32(0), x)[1]


def one(row):
    y = WEIGHTS[::-1] @ row * 0.1
    y = jnp.tanh(y[1:6])
    return y.sum() * row[0]


batched = jax.vmap(one)


def one_loop(row):
    def step(carry, value):
        carry = jnp.sin(carry) + value
        return carry, carry * 2.0

    return lax.scan(step, jnp.float32(1), row)[1]


batched_loop = jax.vmap(one_loop)


def one_slice(row, start):
    y = lax.dynamic_slice(row, (start,), (3,))
    return y * 2.0


batched_slice = jax.vmap(one_slice)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(6, 6, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)

    def __call__(self, x):
        y = self.norm(x)
        return x + nnx.relu(self.linear(y))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Block(rngs) for _ in range(3)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


NET = Net(nnx.Rngs(0))

ROWS = [("B", 6)]
FIXED = [(5, 6)]


# -- what is made wrong in a model -----------------------------------------------------------------------------------


def every_node(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of a model, those of functions and bodies too."""
    found = [*model.graph.node, *[node for function in model.functions for node in function.node]]
    for node in found:
        found += [inner for attribute in node.attribute for inner in attribute.g.node]
    return found


def pick(model: onnx.ModelProto, operator: str, number: int = 0) -> onnx.NodeProto:
    """Return a node of an operator."""
    return [node for node in every_node(model) if node.op_type == operator][number]


def operator(old: str, new: str, number: int = 0) -> Plant:
    """Put another operator in the place of one."""

    def plant(model: onnx.ModelProto) -> str:
        node = pick(model, old, number)
        node.op_type = new
        return node.output[0]

    return plant


def attribute(of: str, name: str, value: Any, number: int = 0) -> Plant:
    """Give an attribute another value."""

    def plant(model: onnx.ModelProto) -> str:
        node = pick(model, of, number)
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])
        return node.output[0]

    return plant


def constant(of: str, place: int, change: Callable[[Any], Any], number: int = 0) -> Plant:
    """Give a constant operand other values, for this node only."""

    def plant(model: onnx.ModelProto) -> str:
        node = pick(model, of, number)
        tensor = next(t for t in model.graph.initializer if t.name == node.input[place])
        array = numpy_helper.to_array(tensor)
        changed = np.asarray(change(array.copy()), array.dtype)
        name = tensor.name
        if sum(list(n.input).count(name) for n in every_node(model)) > 1:
            name = f"{tensor.name}_planted"
            node.input[place] = name
            model.graph.initializer.append(numpy_helper.from_array(changed, name))
        else:
            tensor.CopyFrom(numpy_helper.from_array(changed, name))
        return node.output[0]

    return plant


def held(of: str, change: Callable[[Any], Any], number: int = 0) -> Plant:
    """Give a constant in a function, which is a node there, other values; its reader is the first node of ``of``."""

    def plant(model: onnx.ModelProto) -> str:
        node = [node for node in every_node(model) if node.op_type == of][number]
        made = {name: other for other in every_node(model) for name in other.output}
        source = next(made[name] for name in node.input if name in made and made[name].op_type == "Constant")
        for one in source.attribute:
            array = numpy_helper.to_array(one.t)
            one.t.CopyFrom(numpy_helper.from_array(np.asarray(change(array.copy()), array.dtype), one.t.name))
        return source.output[0]

    return plant


def slice_earlier(model: onnx.ModelProto) -> str:
    """Make a slice begin and end one place earlier."""
    constant("Slice", 1, minus_one)(model)
    return constant("Slice", 2, minus_one)(model)


def minus_one(array: Any) -> Any:
    """Make all numbers smaller by one."""
    return array - 1


def swapped(of: str, first: int = 0, second: int = 1, number: int = 0) -> Plant:
    """Swap two operands."""

    def plant(model: onnx.ModelProto) -> str:
        node = pick(model, of, number)
        node.input[first], node.input[second] = node.input[second], node.input[first]
        return node.output[0]

    return plant


def bumped(array: Any) -> Any:
    """Change one number."""
    array.reshape(-1)[-1] += 0.25
    return array


# -- what is made wrong in rules, fusions and rewrites ---------------------------------------------------------------


def off_by_one(ctx, x, *starts, slice_sizes, **_):
    """Emit ``dynamic_slice`` of a vector one place too early."""
    start = ctx.op.Reshape(starts[0], ctx.ints(1))
    start = ctx.op.Sub(ctx.op.Cast(start, to=7), ctx.ints(1))
    return ctx.op.Slice(x, start, ctx.op.Add(start, ctx.ints(*slice_sizes)), ctx.ints(0))


def wrong_axes(ctx, x, *, axes, **_):
    """Emit a sum over other axes of a square array."""
    rank = len(ctx.avals_in[0].shape)
    return ctx.op.ReduceSum(x, ctx.ints(*[rank - 1 - axis for axis in axes]), keepdims=0)


def wrong_broadcast(ctx, x, *_, shape, broadcast_dimensions, **__):
    """Broadcast a vector along the other axis of a square array."""
    rank = len(ctx.avals_in[0].shape)
    if rank == 1 and len(shape) == 2:
        axis = 1 - broadcast_dimensions[0]
        x = ctx.op.Unsqueeze(x, ctx.ints(1 - axis))
        return ctx.op.Expand(x, ctx.ints(*shape))
    return ctx.op.Expand(x, ctx.ints(*shape))


def broadcast_rows(x):
    y = jnp.exp(jnp.broadcast_to(x[0], (5, 5)))
    return y + x


def summed(x):
    y = jnp.sum(x, axis=0)
    return y * 2.0 + x


RULES: Mapping[str, Callable[..., Any]] = {
    "sin": lambda ctx, x, **_: ctx.op.Cos(x),
    "exp": lambda ctx, x, **_: ctx.op.Mul(ctx.op.Exp(x), ctx.constant(1.001, np.float32)),
    "tanh": lambda ctx, x, **_: ctx.op.Sin(x),
    "cos": lambda ctx, x, **_: ctx.op.Neg(ctx.op.Cos(x)),
    "sub": lambda ctx, x, y, **_: ctx.op.Sub(y, x),
    "dynamic_slice": off_by_one,
    "reduce_sum": wrong_axes,
    "broadcast_in_dim": wrong_broadcast,
}


def rule(*names: str) -> Mapping[str, Any]:
    """Return the options of an export with wrong rules."""
    return {"lowerings": {name: RULES[name] for name in names}}


@contextlib.contextmanager
def fusion(name: str, emit: Callable[..., Any]) -> Iterator[None]:
    """Make the rule of a fusion wrong meanwhile."""
    found = [one for one in load().registry().fusions if one.name == name]
    assert found, name
    kept = [one.emit for one in found]
    for one in found:
        object.__setattr__(one, "emit", dict.fromkeys(one.emit, emit))
    try:
        yield
    finally:
        for one, emits in zip(found, kept, strict=True):
            object.__setattr__(one, "emit", emits)


def wrong_gelu(ctx, x, *_, **__):
    return ctx.op.Gelu(x, approximate="tanh" if ctx.eqn.params.get("approximate") is False else "none")


def wrong_softmax(ctx, x, *_, **__):
    return ctx.op.Softmax(x, axis=0)


def wrong_elu(ctx, x, *_, **__):
    return ctx.op.Mul(x, ctx.op.HardSigmoid(x))


def gelus(x):
    y = jax.nn.gelu(x, approximate=False)
    return y * 2.0


def softmaxes(x):
    y = jax.nn.softmax(x, axis=-1)
    return y * 2.0


def elu_in_loop(x):
    def step(carry, row):
        carry = jax.nn.elu(carry + row)
        return carry, carry * 2.0

    return lax.scan(step, x[0], x)[1]


@onnx_function
def softmax_in_function(x):
    y = jax.nn.softmax(x + 1.0, axis=-1)
    return y * 2.0


def calls_softmax(x):
    return softmax_in_function(x) - 1.0


batched_gelu = jax.vmap(gelus)


@contextlib.contextmanager
def rewrite(name: str, wrong: Callable[..., Any]) -> Iterator[None]:
    """Make a rewrite of graphs wrong meanwhile, in the tables of rewrites too."""
    right = getattr(tidying, name)
    if isinstance(right, Rewrite):
        wrong = replace(right, function=wrong)
    changed: dict[str, Any] = {name: wrong}
    for table, rewrites in vars(tidying).items():
        if isinstance(rewrites, tuple) and right in rewrites:
            changed[table] = tuple(wrong if one is right else one for one in rewrites)
    with mock.patch.multiple(tidying, **changed):
        yield


_MERGE_BIASES = tidying.merge_biases.function
_FOLD = tidying.fold


def biases_twice(nodes: Any, home: Any) -> None:
    """Merge biases, with two of each."""
    graph = nodes[0].graph
    _MERGE_BIASES(nodes, home)
    for node in graph:
        if node.op_type == "Gemm":
            node.attributes.add(_float("beta", 2.0))


def forgetful_transposes(graph: Any, home: Any) -> None:
    """Fold, and drop what transposes a square."""
    _FOLD(graph, home)
    for node in list(graph):
        if node.op_type == "Transpose":
            node.op_type = "Identity"
            node.attributes.clear()


def _float(name: str, value: float) -> Any:
    import onnx_ir as ir

    return ir.AttrFloat32(name, value)


# -- what onnxruntime does wrongly -----------------------------------------------------------------------------------


def quotient(x, y):
    z = lax.div(jnp.int32(1), x)
    return z * y


def log_of_sigmoid(x):
    y = jax.nn.sigmoid(x * 30.0 - 20.0)
    return jnp.log(y)


def small_factor(x):
    y = jnp.sin(x) * 1.000000001
    return y + x


def clipped(x):
    y = lax.max(x, 0)
    return lax.clamp(-3, y, 2)


def vectors(x):
    y = x.T @ jnp.arange(1.0, 6.0)
    return y * 2.0


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def plain_div(ctx, x, y, **_):
    return ctx.op.Div(x, y)


def plain_relu(ctx, x, *_, **__):
    return ctx.op.Relu(x)


def plain_clip(ctx, low, x, high, **_):
    return ctx.op.Clip(x, low, high)


def plain_sigmoid(ctx, x, **_):
    return ctx.op.Sigmoid(x)


INTEGERS = {"values": [[np.array([-1, 2, 3, 1], np.int32), np.array([7, 8, 9, 5], np.int32)]]}


def fault(name: str, where: str, culprit: str, fn: Any, inputs: Any, line: str, *operators: str, **rest: Any) -> Fault:
    """Return a fault."""
    return Fault(
        name=name,
        where=where,
        culprit=culprit,
        fn=fn,
        inputs=inputs,
        line=line,
        operators=frozenset(operators),
        **rest,
    )


S, L, F, V = "straight", "loop", "function", "vmap"
SQUARE, PICTURES = [(5, 5)], [("B", 4, 4, 2)]
STARTS = [("B", 6), "int32[B]"]


FAULTS = [
    # in the model
    fault("wrong operator", S, "model", straight, ROWS, "jnp.sin(x)", plant=operator("Sin", "Cos")),
    fault("wrong operator at the end", S, "model", straight, ROWS, "y - 0.25", plant=operator("Sub", "Add")),
    fault("wrong operator for a product", S, "model", straight, ROWS, "jnp.cos(y) * x", plant=operator("Mul", "Add")),
    fault("wrong constant", S, "model", straight, ROWS, "y + 1.5", plant=constant("Add", 1, bumped)),
    fault("wrong weight", S, "model", dense, ROWS, "x @ WEIGHTS", plant=constant("Gemm", 1, bumped)),
    fault("wrong attribute", S, "model", dense, ROWS, "x @ WEIGHTS", plant=attribute("Gemm", "alpha", 1.01)),
    fault("another gelu", S, "model", dense, ROWS, "gelu", plant=attribute("Gelu", "approximate", "none")),
    fault("wrong axis of softmax", S, "model", dense, ROWS, "softmax", plant=attribute("Softmax", "axis", 0)),
    fault("off-by-one slice", S, "model", shapes, ROWS, "x[:, 1:5]", plant=slice_earlier),
    fault("wrong padding", S, "model", shapes, ROWS, "jnp.pad", plant=constant("Pad", 2, bumped)),
    fault("operands in the wrong order", S, "model", shapes, ROWS, "concatenate", plant=swapped("Concat")),
    fault("wrong indices", S, "model", shapes, ROWS, "jnp.take", plant=constant("Gather", 1, np.sort)),
    fault("wrong permutation", S, "model", square, SQUARE, "x.T", plant=attribute("Transpose", "perm", [0, 1])),
    fault("wrong broadcast", S, "model", square, SQUARE, "jnp.arange", plant=constant("Mul", 0, np.transpose)),
    fault("wrong kernel", S, "model", images, PICTURES, "lax.conv", plant=constant("Conv", 1, bumped)),
    fault("wrong strides", S, "model", images, PICTURES, "reduce_window", plant=operator("MaxPool", "AveragePool")),
    fault(
        "wrong epsilon",
        S,
        "model",
        normal,
        ROWS,
        "jnp.sqrt(variance",
        plant=attribute("LayerNormalization", "epsilon", 0.1),
    ),
    fault("wrong weight of a module", S, "model", NET, ROWS, "self.linear(y)", plant=constant("Gemm", 1, bumped, 1)),
    fault("removed node of a module", S, "model", NET, ROWS, "nnx.relu", plant=operator("Relu", "Identity", 2)),
    fault("wrong operator", L, "model", scanned, FIXED, "jnp.tanh(", plant=operator("Tanh", "Sin")),
    fault("wrong constant", L, "model", scanned, FIXED, "carry * 3.0", plant=constant("Mul", 1, bumped)),
    fault("wrong start", L, "model", scanned, FIXED, "lax.scan", plant=constant("Scan", 0, bumped)),
    fault(
        "wrong direction",
        L,
        "model",
        backwards,
        FIXED,
        "lax.scan",
        plant=attribute("Scan", "scan_input_directions", [0]),
    ),
    fault("wrong operator in while", L, "model", looped, ROWS, "jnp.sin(y)", plant=operator("Sin", "Cos")),
    fault("wrong constant in while", L, "model", looped, ROWS, "y * 0.75", plant=constant("Mul", 1, bumped)),
    fault("wrong operator in fori", L, "model", counted, FIXED, "jnp.cos(", plant=operator("Cos", "Sin")),
    fault("wrong branch", L, "model", branched, ROWS, "jnp.sin(y)", plant=operator("Sin", "Cos")),
    fault("wrong operator, two loops deep", L, "model", nested, FIXED, "jnp.cos(value)", plant=operator("Cos", "Sin")),
    fault("wrong operator", F, "model", function, ROWS, "jnp.exp(", plant=operator("Exp", "Cos")),
    fault("wrong constant", F, "model", function, ROWS, "jnp.exp(x * 0.5)", plant=held("Mul", bumped, 1)),
    fault("wrong operator in a loop", F, "model", loop_in_function, ROWS, "jnp.sin(row)", plant=operator("Sin", "Cos")),
    fault("off-by-one slice", V, "model", batched, ROWS, "y[1:6]", plant=slice_earlier),
    fault("wrong weight", V, "model", batched, ROWS, "@ row", plant=constant("MatMul", 0, bumped)),
    fault("wrong operator in a loop", V, "model", batched_loop, ROWS, "jnp.sin(carry)", plant=operator("Sin", "Cos")),
    fault(
        "off-by-one gather", V, "model", batched_slice, STARTS, "dynamic_slice", plant=constant("Add", 1, minus_one, 1)
    ),
    # in a rule
    fault("wrong rule of sin", S, "rule", straight, ROWS, "jnp.sin(x)", "Cos", options=rule("sin")),
    fault("wrong rule of sub", S, "rule", straight, ROWS, "y - 0.25", "Sub", options=rule("sub")),
    fault("a rule that is a little off", S, "rule", broadcast_rows, SQUARE, "jnp.exp(", "Mul", options=rule("exp")),
    fault("wrong axes of a sum", S, "rule", summed, SQUARE, "jnp.sum", "ReduceSum", options=rule("reduce_sum")),
    fault(
        "wrong broadcast", S, "rule", broadcast_rows, SQUARE, "broadcast_to", "Expand", options=rule("broadcast_in_dim")
    ),
    fault("wrong rule of tanh", L, "rule", scanned, FIXED, "jnp.tanh(", "Sin", options=rule("tanh")),
    fault("wrong rule of sin", L, "rule", looped, ROWS, "jnp.sin(y)", "Cos", options=rule("sin")),
    fault("wrong rule of cos", L, "rule", nested, FIXED, "jnp.cos(value)", "Neg", options=rule("cos")),
    fault("wrong rule of exp", L, "rule", backwards, FIXED, "jnp.exp(", "Mul", options=rule("exp")),
    fault("wrong rule of sin", F, "rule", loop_in_function, ROWS, "jnp.sin(row)", "Cos", options=rule("sin")),
    fault("wrong rule of tanh", F, "rule", function, ROWS, "jnp.tanh(y)", "Sin", options=rule("tanh")),
    fault("wrong rule of tanh", V, "rule", batched, ROWS, "jnp.tanh(", "Sin", options=rule("tanh")),
    fault("wrong rule of sin", V, "rule", batched_loop, ROWS, "jnp.sin(carry)", "Cos", options=rule("sin")),
    fault(
        "off-by-one dynamic_slice",
        S,
        "rule",
        one_slice,
        ["float32[6]", "int32[]"],
        "dynamic_slice",
        "Slice",
        options=rule("dynamic_slice"),
        comparison={"values": [[np.arange(6, dtype=np.float32), np.int32(2)]]},
    ),
    # in a fusion
    fault(
        "wrong gelu", S, "fusion", gelus, ROWS, "jax.nn.gelu", "Gelu", broken=lambda: fusion("jax.nn.gelu", wrong_gelu)
    ),
    fault(
        "wrong softmax",
        S,
        "fusion",
        softmaxes,
        SQUARE,
        "jax.nn.softmax",
        "Softmax",
        broken=lambda: fusion("jax.nn.softmax", wrong_softmax),
    ),
    fault(
        "wrong elu",
        L,
        "fusion",
        elu_in_loop,
        ROWS,
        "jax.nn.elu",
        "Mul",
        "HardSigmoid",
        broken=lambda: fusion("jax.nn.elu", wrong_elu),
    ),
    fault(
        "wrong softmax",
        F,
        "fusion",
        calls_softmax,
        SQUARE,
        "jax.nn.softmax",
        "Softmax",
        broken=lambda: fusion("jax.nn.softmax", wrong_softmax),
    ),
    fault(
        "wrong gelu",
        V,
        "fusion",
        batched_gelu,
        ROWS,
        "jax.nn.gelu",
        "Gelu",
        broken=lambda: fusion("jax.nn.gelu", wrong_gelu),
    ),
    # in a rewrite
    fault(
        "biases are added twice",
        S,
        "rewrite",
        dense,
        ROWS,
        "x @ WEIGHTS",
        "Gemm",
        broken=lambda: rewrite("merge_biases", biases_twice),
    ),
    fault(
        "transposes are forgotten",
        S,
        "rewrite",
        square,
        SQUARE,
        "x.T",
        "Identity",
        broken=lambda: rewrite("fold", forgetful_transposes),
    ),
    # in onnxruntime
    fault(
        "Sigmoid loses digits",
        S,
        "kernel",
        log_of_sigmoid,
        ROWS,
        "jax.nn.sigmoid",
        "Sigmoid",
        options={"lowerings": {"logistic": plain_sigmoid}, "fusions": False},
    ),
    fault(
        "integers: 1 / x * y is y / x",
        S,
        "optimiser",
        quotient,
        ["int32[4]", "int32[4]"],
        "z * y",
        "Mul",
        options={"target": "onnx", "lowerings": {"div": plain_div}},
        comparison=INTEGERS,
    ),
    fault(
        "a number near 1 is taken for 1",
        S,
        "optimiser",
        small_factor,
        ["float64[B,3]"],
        "jnp.sin(x) * 1.0",
        "Mul",
        options={"target": "onnx"},
        x64=True,
    ),
    fault(
        "Clip after Relu",
        S,
        "optimiser",
        clipped,
        ["int32[B,6]"],
        "lax.clamp",
        "Clip",
        options={"target": "onnx", "lowerings": {"max": plain_relu, "clamp": plain_clip}},
    ),
    fault(
        "the product of a matrix that is transposed and a vector",
        S,
        "optimiser",
        vectors,
        SQUARE,
        "x.T @",
        "MatMul",
        broken=lambda: rewrite("turn_vector_products", nothing),
        options={"target": "onnx"},  # a model for onnxruntime is mended a second time
    ),
]
