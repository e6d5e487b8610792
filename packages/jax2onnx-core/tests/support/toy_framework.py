"""A framework of a few lines, and its plugin: layers are objects that are called, and hold arrays and layers.

Attributes whose names end with an underscore are state: calls may assign them. ``Noise`` is a layer whose mode matters.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Leaves, Opened, hookimpl, is_parameter, key_name, mode_warning


class Layer:
    def __init_subclass__(cls):
        jax.tree_util.register_pytree_with_keys(cls, flatten, functools.partial(unflatten, cls))

    def eval(self):
        for layer in jax.tree_util.tree_leaves(self, is_leaf=is_noise):
            if is_noise(layer):
                layer.training = False


def flatten(layer):
    children = {name: value for name, value in vars(layer).items() if isinstance(value, jax.Array | Layer)}
    others = tuple((name, value) for name, value in vars(layer).items() if name not in children)
    keys = map(jax.tree_util.GetAttrKey, children)
    return list(zip(keys, children.values(), strict=True)), (tuple(children), others)


def unflatten(cls, static, children):
    layer = object.__new__(cls)
    names, others = static
    vars(layer).update(zip(names, children, strict=True), **dict(others))
    return layer


class Linear(Layer):
    def __init__(self, inputs, outputs, seed=0):
        weight = np.random.default_rng(seed).normal(size=(inputs, outputs))
        self.weight = jnp.asarray(weight, jnp.float32)
        self.bias = jnp.ones(outputs)

    def __call__(self, x):
        return x @ self.weight + self.bias


class Noise(Layer):
    def __init__(self):
        self.training = True
        self.count_ = jnp.zeros((), jnp.int32)

    def __call__(self, x):
        if not self.training:
            return x
        self.count_ += 1
        return x + self.count_ / 8


def is_layer(node):
    return isinstance(node, Layer)


def is_noise(node):
    return isinstance(node, Noise)


def take_apart(target):
    """What is called and the arguments that it holds, of a layer, a method of one, or a partial."""
    match target:
        case Layer():
            return type(target).__call__, (target,), {}
        case types.MethodType():
            return target.__func__, (target.__self__,), {}
        case functools.partial():
            function, args, kwargs = take_apart(target.func)
            return function, (*args, *target.args), {**kwargs, **target.keywords}
    return target, (), {}


def below(path):
    return ".".join(map(key_name, path[2:]))


@hookimpl
def jax2onnx_open(target, opening):
    function, args, kwargs = take_apart(target)
    if not any(map(is_layer, jax.tree_util.tree_leaves((args, kwargs), is_leaf=is_layer))):
        return None
    flat, tree = jax.tree_util.tree_flatten_with_path((args, kwargs))
    names = [below(path) or None if is_parameter(leaf) else None for path, leaf in flat]
    held = Leaves([leaf for _, leaf in flat], names, tree)
    state = {name: array for name, array in held.params.items() if opening.state == "io" and name.endswith("_")}

    def pure(params, *further, **keywords):
        own_args, own_kwargs = copies = held.with_params(params)
        for layer in jax.tree_util.tree_leaves(copies, is_leaf=is_layer):
            if is_layer(layer) and not opening.training:
                layer.eval()
        result = function(*own_args, *further, **own_kwargs, **keywords)
        after = Leaves(jax.tree_util.tree_leaves(copies), names, tree).params
        return (result, {name: after[name] for name in state}) if state else result

    noises, _ = jax.tree_util.tree_flatten_with_path((args, kwargs), is_leaf=is_noise)
    changed = [f"{below(path)} (Noise)" for path, leaf in noises if is_noise(leaf) and leaf.training]
    warnings = (mode_warning(changed, "evaluation", "model.eval()"),) if changed and not opening.training else ()
    return Opened(function=pure, params=held.params, name=function.__name__, state=state, warnings=warnings)
