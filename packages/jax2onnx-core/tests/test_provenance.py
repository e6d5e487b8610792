"""Provenance: what nodes tell of where they come from, and what the user writes into the model beside the program."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from flax import linen, nnx

from jax2onnx import to_onnx
from jax2onnx.cli.main import cli
from jax2onnx.errors import InputSpecError
from jax2onnx.output.external_data import bodies
from jax2onnx.plugin import named_calls


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(2, 8, rngs=rngs, decode=False)
        self.dense = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.dense(self.attention(x)))


class Blocks(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.relu(linen.Dense(4, name="head")(x))


class Equinox(eqx.Module):
    layers: list[Any]

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return x


def told(model: onnx.ModelProto, key: str) -> set[str]:
    every = (node for body in bodies([model.graph, *model.functions]) for node in body.node)
    return {entry.value for node in every for entry in node.metadata_props if entry.key == key}


def test_nodes_tell_the_path_of_their_module() -> None:
    before = nnx.Linear.__call__
    paths = told(to_onnx(Blocks(nnx.Rngs(0)), ["float32[2,4,8]"]), "namespace")
    assert nnx.Linear.__call__ is before
    for block in ("blocks.0", "blocks.1"):
        below = {f"{block}/attention/{part}" for part in ("query", "key", "value", "out")}
        assert below | {block, f"{block}/dense", f"{block}/attention"} <= paths
    head = Linen()
    bound = head.bind(head.init(jax.random.key(0), jnp.ones((1, 3))))
    assert "Linen/head" in told(to_onnx(bound, ["float32[2,3]"]), "namespace")
    keys = jax.random.split(jax.random.key(0))
    layers = Equinox([eqx.nn.Linear(4, 4, key=key) for key in keys])
    paths = told(to_onnx(layers, ["float32[4]"]), "namespace")
    assert {path.split("/")[0] for path in paths} == {"layers.0", "layers.1"}


def test_what_is_jitted_or_mapped_is_in_the_scope_of_the_call() -> None:
    @jax.jit
    def scaled(x: jax.Array) -> jax.Array:
        with jax.named_scope("inner"):
            return jnp.sin(x) * 2.0

    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("first"):
            y = scaled(x)
        with jax.named_scope("second"):
            return jax.vmap(scaled)(y) + jax.nn.relu(y)

    paths = told(to_onnx(function, ["float32[2,3]"]), "namespace")
    assert paths >= {"first/inner", "second/inner", "second"}


def test_functions_tell_paths_from_their_module_on() -> None:
    model = to_onnx(Blocks(nnx.Rngs(0)), ["float32[2,4,8]"], functions="modules")
    assert told(model, "namespace") >= {"blocks.0", "blocks.1", "attention", "dense", "query", "out"}


def test_modules_rebuilt_by_a_transformation_have_the_name_of_their_class() -> None:
    class Stack(nnx.Module):
        def __init__(self) -> None:
            self.stack = nnx.vmap(lambda key: Block(nnx.Rngs(key)))(jax.random.split(jax.random.key(0)))

        def __call__(self, x: jax.Array) -> jax.Array:
            return nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.stack)

    assert "Block/attention/query" in told(to_onnx(Stack(), ["float32[2,4,8]"]), "namespace")


class Called:
    def __init__(self, inner: Called | None = None) -> None:
        self.inner = inner

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.sin(x) if self.inner is None else self.inner(x)


class Derived(Called):
    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x)


def walk(root: Called) -> list[tuple[str, Called]]:
    return [("", root)] + ([] if root.inner is None else [("inner", root.inner)])


def scopes(call: Any) -> list[str]:
    return [str(eqn.source_info.name_stack) for eqn in jax.make_jaxpr(partial(call))(1.0).eqns]


def test_calls_are_named_in_their_context_only() -> None:
    """By super() too, once; another thread meanwhile sees no difference; errors leave the class as it was."""
    module = Derived(Called())
    before = vars(Called)["__call__"], vars(Derived)["__call__"]
    elsewhere: list[str] = []
    with named_calls([("top", module)], walk):
        assert scopes(module) == ["top/inner"]
        thread = threading.Thread(target=lambda: elsewhere.extend(scopes(module)))
        thread.start()
        thread.join()
        with named_calls([("again", module)], walk):
            assert scopes(module) == ["again/inner"]
        assert scopes(Called()) == ["Called"]
    assert elsewhere == [""]
    with pytest.raises(ZeroDivisionError), named_calls([("top", module)], walk):
        raise ZeroDivisionError
    assert (vars(Called)["__call__"], vars(Derived)["__call__"]) == before


def test_levels() -> None:
    """The default names no folder of this machine, which ``full`` does; ``none`` names neither lines nor modules."""
    here = str(Path(__file__).parent)
    model = Blocks(nnx.Rngs(0))
    levels = {level: to_onnx(model, ["float32[2,4,8]"], provenance=level) for level in ("none", "relative", "full")}
    sources = {level: told(made, "jax2onnx.source") for level, made in levels.items()}
    assert not sources["none"]
    assert not told(levels["none"], "namespace")
    assert all(source.startswith("test_provenance.py:") for source in sources["relative"])
    assert all(source.startswith(here) for source in sources["full"])
    assert here.encode() not in levels["relative"].SerializeToString()


def test_a_few_percent() -> None:
    """Lines and paths are less than 3 % of a model with layers of a common width."""
    layers = eqx.nn.MLP(64, 64, 64, 6, key=jax.random.key(0))
    small, large = (to_onnx(layers, ["float32[64]"], provenance=level).ByteSize() for level in ("none", "relative"))
    assert small < large < 1.03 * small


def test_what_the_user_writes_into_the_model() -> None:
    model = to_onnx(
        jnp.sin,
        ["float32[3]"],
        metadata={"license": "MIT", "notes": "zwei\nZeilen"},
        doc_string="a sine",
        model_version=np.int64(7),
        producer="acme",
    )
    assert {entry.key: entry.value for entry in model.metadata_props} == {"license": "MIT", "notes": "zwei\nZeilen"}
    assert (model.doc_string, model.model_version) == ("a sine", 7)
    assert (model.producer_name, model.producer_version) == ("acme", "")
    assert to_onnx(jnp.sin, ["float32[3]"]).producer_name == "jax2onnx"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("provenance", "relativ", "did you mean 'relative'"),
        ("provenance", True, "'none' or 'relative' or 'full'"),
        ("metadata", ["MIT"], "expected a mapping from names"),
        ("metadata", {"a": 1}, r"metadata\['a'\]: expected a string, got 1; write '1'"),
        ("metadata", {"": "x"}, "not empty"),
        ("metadata", {"a": "\ud800"}, "UTF-8"),
        ("doc_string", None, "expected a string"),
        ("model_version", -1, "not negative"),
        ("model_version", 2**63, "below 2"),
        ("producer", "", "not empty"),
        ("meta_data", {}, "did you mean 'metadata'"),
    ],
)
def test_wrong_options(option: str, value: Any, message: str) -> None:
    with pytest.raises(InputSpecError, match=message):
        to_onnx(jnp.sin, ["float32[3]"], **{option: value})


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    base = ["export", "jax.numpy:sin", "-i", "float32[3]", "-o", str(path)]
    told_options = ["--metadata", "license=MIT", "--metadata", "eq=a=b", "--doc-string", "a sine", "--producer", "acme"]
    done = CliRunner().invoke(cli, [*base, *told_options, "--model-version", "3", "--provenance", "none"])
    assert done.exit_code == 0, done.output
    model = onnx.load(path)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"license": "MIT", "eq": "a=b"}
    assert (model.doc_string, model.model_version, model.producer_name) == ("a sine", 3, "acme")
    for wrong in (["license"], ["a=1", "--metadata", "a=2"]):
        assert CliRunner().invoke(cli, [*base, "--metadata", *wrong]).exit_code == 2


def test_what_a_loop_does_is_in_its_scope():
    def fn(x):
        def step(carry, row):
            with jax.named_scope("cell"):
                carry = jnp.sin(carry + row)
            return carry * 2.0, carry

        with jax.named_scope("outer"):
            rows = jax.lax.scan(step, x[0], x)[1]
        return jax.lax.cond(rows.sum() > 0, jnp.exp, jnp.tanh, rows)

    model = to_onnx(fn, [(3, 4)])
    found = [*model.graph.node]
    for node in found:
        found += [inner for attribute in node.attribute for inner in attribute.g.node]
    told = {node.op_type: {entry.key: entry.value for entry in node.metadata_props} for node in found}
    assert told["Scan"]["namespace"] == "outer"
    assert told["Sin"]["namespace"] == "outer/cell"
    assert told["Mul"]["namespace"] == "outer"
    assert "namespace" not in told["Exp"]


def test_subscripts_of_einsum_are_no_scope():
    def fn(x):
        with jax.named_scope("product"):
            return jnp.einsum("ab,cb->ac", x, x)

    model = to_onnx(fn, [(3, 4)])
    assert {entry.value for node in model.graph.node for entry in node.metadata_props if entry.key == "namespace"} == {
        "product"
    }
