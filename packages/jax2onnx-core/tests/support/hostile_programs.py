"""Programs and values that no user means to export: the module ``h`` of the calls in ``wrong_calls``."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jax2onnx


async def coroutine(x):
    return x


def generator(x):
    yield x


async def stream(x):
    yield x


class Asynchronous:
    async def __call__(self, x):
        return x


asynchronous = Asynchronous()


def exits(x):
    sys.exit(3)


def endless(x):
    return endless(x)


class Silent(Exception):  # noqa: N818 - its text cannot be read
    def __str__(self):
        raise OSError("no text")


def silent(x):
    raise Silent


def none(x):
    return None


def nothing(x):
    return ()


def text(x):
    return {"a": "b"}


def number_and_function(x):
    return x, print


def objects(x):
    return x + np.array([None, 1], object)


def strings(x):
    return x + np.array(["a", "b"])


def export_inside(x):
    return jax2onnx.to_onnx(jnp.sin, [(3,)]) and x


def asserts(x):
    assert x.shape == (4,), "shape"
    return x


def numpy_result(x):
    return np.asarray(x)


def huge(x):
    return jnp.broadcast_to(x, (2**40, *x.shape)).reshape(2**62, -1)


deleted = jnp.arange(3.0)
deleted.delete()
donated = jnp.arange(4.0)
jax.jit(lambda x: x * 2, donate_argnums=0)(donated).block_until_ready()
left_behind = []
jax.make_jaxpr(lambda x: left_behind.append(x) or x)(jnp.arange(3.0))
kept = jnp.arange(3.0)
key = jax.random.key(0)
cyclic = []
cyclic.append(cyclic)
deep = [1.0]
for _ in range(3000):
    deep = [deep]


class Weights:
    def __init__(self, array):
        self.array = array

    def __call__(self, x):
        return x + self.array


def weighted(weights, x):
    return x + weights["w"]


zeros = np.zeros(3, np.float32)


# -- objects whose methods fail --------------------------------------------------------------------------------------


class Failing:
    """An object that fails where it is compared, called a path, or asked for its numbers or its signature."""

    shape = (3,)
    dtype = np.dtype(np.float32)

    def __eq__(self, _other):
        raise RuntimeError("no comparison")

    def __hash__(self):
        return 1

    def __fspath__(self):
        raise RuntimeError("no path")

    def __array__(self, *_args, **_kwargs):
        raise RuntimeError("no numbers")

    def __call__(self, x):
        return x

    @property
    def __signature__(self):
        raise RuntimeError("no signature")


class Exiting:
    """An object that ends Python where it is written."""

    def __repr__(self):
        raise SystemExit("no text")


class FailingList(list):
    def __iter__(self):
        raise RuntimeError("no items")


class FailingDict(dict):
    def items(self):
        raise RuntimeError("no items")


failing = Failing()
exiting = Exiting()
failing_list = FailingList(["B >= 1"])
failing_dict = FailingDict(a="b")
