"""Programs of a user, for the calls in ``wrong_calls``: on the command line they are the module ``models``."""

from __future__ import annotations

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

unknown_p = jax.extend.core.Primitive("models_unknown")
unknown_p.def_abstract_eval(lambda x: x)


def double(x):
    return x * 2


def add(a, b):
    return a + b


def scaled(x, *, factor):
    return x * factor


def power(x, n):
    return x**n if n > 1 else x


def tables(x, n):
    return x + jnp.arange(n)[:, None]


def choose(x, first: bool):  # noqa: FBT001 - as users write it
    return x if first else -x


def step(x, train: bool):  # noqa: FBT001 - as users write it
    return x if train else x * 2


def cut(x):
    return x[:3] if x.shape[0] > 3 else x


def halves(x):
    return jnp.split(x, 2)


def look_up(tokens):
    return jnp.ones((10, 3)).at[tokens].get()


def project(x):
    return x @ jnp.ones((4, 2))


def image_mean(image):
    batch, _height, _width, channels = image.shape
    return image.mean(axis=(1, 2)).reshape(batch, channels)


def picky(x):
    raise ValueError("no, thanks")


def lookup_key(batch):
    return batch["tokens"] + 1


def describe(x):
    return {"name": "sum", "value": x.sum()}


def python_if(x):
    if x.sum() > 0:
        return x
    return -x


def data_dependent(x):
    return x[x > 0]


def masked(x):
    return jnp.where(x > 0, x, 0)


def to_numpy(x):
    return np.sin(np.asarray(x))


def to_jax(x):
    return jnp.sin(x)


def python_float(x):
    return x * float(x.max())


def unknown(x):
    return unknown_p.bind(x) + unknown_p.bind(x * 2)


def bad_rule(ctx, x):
    raise RuntimeError("not implemented")


def good_rule(ctx, x):
    return ctx.op.Neg(x)


def make():
    return double


def make_broken():
    raise OSError("no weights")


def loop_bound(x, n):
    return [x + i for i in range(n)]


def gather(x, index):
    return x[index]


def image(x):
    return x * 2


static_power = jax.jit(power, static_argnames="n")
wrong_static = jax.jit(lambda x, sizes: x.reshape(sizes), static_argnames="sizes")


class Callable:
    def __call__(self, x):
        return x


callable_object = Callable()


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):  # noqa: FBT001 - as users write it
        x = nn.Dense(4)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dropout(0.5, deterministic=not train)(x)

    def features(self, x):
        return x


net = Net()
variables = net.init(jax.random.key(0), jnp.ones((1, 3)), train=False)
dropout = nn.Dropout(0.5)
norm = nn.BatchNorm()
norm_variables = norm.init(jax.random.key(0), jnp.ones((1, 3)), use_running_average=False)


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)

    def __call__(self, x):
        return self.linear(x)


layer = Layer(nnx.Rngs(0))
embedding = nnx.Embed(10, 3, rngs=nnx.Rngs(0))
bound = functools.partial(power, n=2)
text = "no callable"
