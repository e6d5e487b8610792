"""Write docs/coverage/random.md: every public sampler of jax.random, by each kind of key, in onnxruntime against JAX.

Run it with the newest jax:

    python scripts/random_table.py
"""

from __future__ import annotations

import inspect
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jax2onnx import check, to_onnx
from jax2onnx.errors import Jax2OnnxError
from jax2onnx.testing import Runner, represented

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "random.md"
IMPLEMENTATIONS = ("threefry2x32", "rbg", "unsafe_rbg", "philox2x32", "philox4x32", "threefry4x32")
NO_SAMPLERS = frozenset(
    {
        "PRNGKey",
        "default_prng_impl",
        "key",
        "key_data",
        "key_dtype",
        "key_impl",
        "wrap_key_data",
        "PRNGKeyArray",
        "KeyReuseError",
    }
)
"""Public names that make or describe a key; models take keys as their words."""

CALLS: dict[str, Callable[[Any], Any]] = {
    "ball": lambda k: random.ball(k, 3, shape=(4,)),
    "bernoulli": lambda k: random.bernoulli(k, 0.3, (20,)),
    "beta": lambda k: random.beta(k, 2.0, 3.0, (4,)),
    "binomial": lambda k: random.binomial(k, 10, 0.4, (4,)),
    "bits": lambda k: random.bits(k, (7,)),
    "categorical": lambda k: random.categorical(k, jnp.arange(12.0).reshape(3, 4)),
    "cauchy": lambda k: random.cauchy(k, (4,)),
    "chisquare": lambda k: random.chisquare(k, 3.0, shape=(4,)),
    "choice": lambda k: random.choice(k, 7, (5,), p=jnp.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1])),
    "clone": lambda k: random.key_data(random.clone(k)),
    "dirichlet": lambda k: random.dirichlet(k, jnp.array([1.0, 2, 3]), (2,)),
    "double_sided_maxwell": lambda k: random.double_sided_maxwell(k, 0.0, 1.0, (4,)),
    "exponential": lambda k: random.exponential(k, (8,)),
    "f": lambda k: random.f(k, 3.0, 4.0, (4,)),
    "fold_in": lambda k: random.key_data(random.fold_in(k, 7)),
    "gamma": lambda k: random.gamma(k, jnp.array([0.5, 2.0, 7.0])),
    "generalized_normal": lambda k: random.generalized_normal(k, 2.0, (4,)),
    "geometric": lambda k: random.geometric(k, 0.3, (4,)),
    "gumbel": lambda k: random.gumbel(k, (8,)),
    "laplace": lambda k: random.laplace(k, (8,)),
    "loggamma": lambda k: random.loggamma(k, 2.0, (4,)),
    "logistic": lambda k: random.logistic(k, (4,)),
    "lognormal": lambda k: random.lognormal(k, 1.0, (4,)),
    "maxwell": lambda k: random.maxwell(k, (4,)),
    "multinomial": lambda k: random.multinomial(k, 10, jnp.array([0.2, 0.3, 0.5])),
    "multivariate_normal": lambda k: random.multivariate_normal(k, jnp.zeros(3), 2 * jnp.eye(3) + 0.1, (2,)),
    "normal": lambda k: random.normal(k, (20,)),
    "orthogonal": lambda k: random.orthogonal(k, 3),
    "pareto": lambda k: random.pareto(k, 2.0, (4,)),
    "permutation": lambda k: random.permutation(k, 10),
    "poisson": lambda k: random.poisson(k, jnp.array([3.0, 50.0])),
    "rademacher": lambda k: random.rademacher(k, (20,)),
    "randint": lambda k: random.randint(k, (20,), -5, 17),
    "rayleigh": lambda k: random.rayleigh(k, 2.0, (4,)),
    "split": lambda k: random.key_data(random.split(k, (2, 3))),
    "t": lambda k: random.t(k, 3.0, (4,)),
    "triangular": lambda k: random.triangular(k, 0.0, 0.3, 1.0, (4,)),
    "truncated_normal": lambda k: random.truncated_normal(k, -1.0, 2.0, (20,)),
    "uniform": lambda k: random.uniform(k, (5, 3)),
    "wald": lambda k: random.wald(k, 2.0, (4,)),
    "weibull_min": lambda k: random.weibull_min(k, 2.0, 3.0, (4,)),
}
"""One call of each sampler."""

NOTES = """A sampler is *equal* where every bit is JAX's, and *agrees* where its last steps are floating-point functions
(logarithms, roots), whose last digits are the runtime's; the draw is JAX's own in either case.

`poisson` takes a threefry key alone, in JAX too. `multivariate_normal` is as in the table by its default method,
`cholesky`. With `method="eigh"` or `method="svd"` the samples may be others than JAX's, of the same distribution: the
sign of an eigenvector (and its direction, among equal eigenvalues) is free, and LAPACK's choice may not be the model's.
"""


def samplers() -> set[str]:
    """Return the names of the public functions of jax.random that take a key."""
    public = {n for n in dir(random) if not n.startswith("_")}
    return {n for n in public - NO_SAMPLERS if inspect.isfunction(inspect.unwrap(getattr(random, n)))}


def implementations() -> list[str]:
    """Return the kinds of keys that the installed jax offers."""
    offered = []
    for name in IMPLEMENTATIONS:
        try:
            random.key(0, impl=name)
        except ValueError:
            continue
        offered.append(name)
    return offered


def outcome(name: str, implementation: str) -> str:
    """Return how a sampler compares: ``equal``, ``agrees``, ``not in JAX``, or the error of the conversion.

    Raises:
        CheckError: the model disagrees with JAX.
    """
    function, key = CALLS[name], random.key(42, impl=implementation)
    try:
        expected = jax.tree_util.tree_leaves(function(key))
    except NotImplementedError:
        return "not in JAX"
    try:
        model = to_onnx(function, [key])
    except Jax2OnnxError as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    actual = Runner(model).run([represented(key)])
    if all(np.array_equal(represented(e), a) for e, a in zip(expected, actual, strict=True)):
        return "equal"
    check(model, function, [key], values=[[key]])
    return "agrees"


def render(kinds: list[str], rows: dict[str, list[str]]) -> str:
    """Return the page."""
    lines = [
        "# Coverage: jax.random",
        "",
        f"Written by `scripts/random_table.py` with jax {version('jax')} and onnxruntime {version('onnxruntime')}.",
        "Columns are the implementations of keys that this jax offers.",
        "",
        NOTES,
        "| | " + " | ".join(kinds) + " |",
        "| " + " | ".join(["---"] * (len(kinds) + 1)) + " |",
    ]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def listed(page: str) -> dict[str, list[str]]:
    """Return the rows of a page that ``render`` made, with the header under the empty name."""
    table = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    header, *rows = table
    return {"": header, **{name: cells for name, *cells in rows}}


def main() -> None:
    """Run every sampler by every kind of key, and write the page."""
    warnings.simplefilter("error")
    kinds = implementations()
    rows = {name: [outcome(name, kind) for kind in kinds] for name in sorted(CALLS)}
    PAGE.write_text(render(kinds, rows))
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} samplers, {len(kinds)} implementations", file=sys.stderr)


if __name__ == "__main__":
    main()
