"""Value ranges: what a program computes, in its loops too, lies in the ranges that the analysis tells; guards go.

``RANGES`` says how many programs are drawn (default 3), ``RANGES_SEED`` from which seed.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import array, flat

from jax2onnx import check, to_onnx
from jax2onnx.plugin import scan_counts
from jax2onnx.program.bounds import Range, limits
from jax2onnx.program.program import Const
from jax2onnx.program.ranges import known_ranges, use_ranges
from jax2onnx.testing import operators
from jax2onnx_lax.ranges import are_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.program.program import Atom
    from jax2onnx.program.ranges import KnownRanges

COUNT = int(os.environ.get("RANGES", "3"))
SEED = int(os.environ.get("RANGES_SEED", "0"))
ALL = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
DTYPES = ALL if COUNT > 3 else ("int8", "uint8", "int32", "bool")
SHAPES = ((), (3,))


class Run:
    """Evaluates a flat program, and checks all values, in each iteration of a loop, against their ranges."""

    def __init__(self) -> None:
        self.checked = 0
        self.told = 0

    def program(self, known: KnownRanges, operands: Sequence[Any]) -> list[Any]:
        env: dict[Atom, Any] = dict(zip(known.program.inputs, operands, strict=True))
        for atom, value in env.items():
            self.check(known, atom, value)
        for eqn in known.program.eqns:
            inputs = [self.read(env, atom) for atom in eqn.inputs]
            results = self.equation(known, eqn, inputs)
            for atom, value in zip(eqn.outputs, results, strict=True):
                env[atom] = value
                self.check(known, atom, value)
        return [self.read(env, atom) for atom in known.program.outputs]

    def read(self, env: dict[Atom, Any], atom: Atom) -> Any:
        return jnp.asarray(atom.value, atom.aval.dtype) if isinstance(atom, Const) else env[atom]

    def check(self, known: KnownRanges, atom: Atom, value: Any) -> None:
        one = known.of(atom)
        if one is None or np.size(value) == 0:
            return
        numbers = np.asarray(value).astype(object)
        maker = known.makers.get(atom)
        where = "an input" if maker is None else f"{maker.primitive} {maker.params}"
        assert one.low <= numbers.min(), f"{where}: {numbers} in {one}"
        assert numbers.max() <= one.high, f"{where}: {numbers} in {one}"
        self.checked += 1
        self.told += one != limits(atom.aval.dtype)

    def equation(self, known: KnownRanges, eqn: Any, inputs: list[Any]) -> list[Any]:
        if not eqn.bodies:
            results = eqn.origin.primitive.bind(*inputs, **eqn.params)
            return list(results) if eqn.origin.primitive.multiple_results else [results]
        inside = [known.of_body(body.program, given) for body, given in zip(eqn.bodies, known.inside(eqn), strict=True)]
        if eqn.primitive == "cond":
            return self.program(inside[min(max(int(inputs[0]), 0), len(inside) - 1)], inputs[1:])
        if eqn.primitive == "scan":
            return self.scan(eqn, inside[0], inputs)
        tests = [body.jaxpr is eqn.params["cond_jaxpr"] for body in eqn.bodies]
        condition, body = inside[tests.index(True)], inside[tests.index(False)]
        first = eqn.params["cond_nconsts"]
        second = first + eqn.params["body_nconsts"]
        state = inputs[second:]
        while bool(self.program(condition, [*inputs[:first], *state])[0]):
            state = self.program(body, [*inputs[first:second], *state])
        return state

    def scan(self, eqn: Any, body: KnownRanges, inputs: list[Any]) -> list[Any]:
        consts, carries = scan_counts(eqn.params)
        state, xs = inputs[consts : consts + carries], inputs[consts + carries :]
        order = list(range(eqn.params["length"]))
        ys = []
        for i in order[::-1] if eqn.params["reverse"] else order:
            results = self.program(body, [*inputs[:consts], *state, *[x[i] for x in xs]])
            state = results[:carries]
            ys.append(results[carries:])
        ys = ys[::-1] if eqn.params["reverse"] else ys
        stacked = zip(*ys, strict=True) if ys else [[] for _ in eqn.outputs[carries:]]
        values = [
            jnp.stack(y) if len(y) else jnp.zeros(v.aval.shape, v.aval.dtype)
            for y, v in zip(stacked, eqn.outputs[carries:], strict=True)
        ]
        return [*state, *values]


class Draw:
    """Draws programs of integers: a function of one vector of each dtype, and of one scalar of each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def values(self, pool: Sequence[Any], kind: Callable[[Any], bool]) -> Any:
        return self.random.choice([value for value in pool if kind(value)])

    def number(self, dtype: Any) -> Any:
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return np.bool_(self.random.random() < 0.5)
        info = np.iinfo(dtype)
        low = max(info.min, -9) if self.random.random() < 0.8 else info.min
        high = min(info.max, 9) if self.random.random() < 0.8 else info.max
        return dtype.type(self.random.randint(int(low), int(high)))

    def step(self, pool: list[Any]) -> Any:
        """Return a new value of those that there are."""
        x = self.random.choice(pool)
        same = [v for v in pool if v.dtype == x.dtype and v.shape == x.shape]
        y = self.random.choice([*same, jnp.full(x.shape, self.number(x.dtype), x.dtype)])
        is_bool = x.dtype.kind == "b"
        ops: list[Callable[[], Any]] = [
            lambda: lax.max(x, y), lambda: lax.min(x, y), lambda: lax.lt(x, y), lambda: lax.ge(x, y),
            lambda: lax.eq(x, y), lambda: lax.ne(x, y), lambda: lax.le(x, y), lambda: lax.gt(x, y),
            lambda: lax.bitwise_and(x, y), lambda: lax.bitwise_or(x, y), lambda: lax.bitwise_xor(x, y),
            lambda: lax.bitwise_not(x), lambda: x.astype(self.random.choice(DTYPES)),
            lambda: jnp.where(self.random.choice(["lt", "ge"]) == "lt", x, y),
            lambda: jnp.concatenate([jnp.ravel(x), jnp.ravel(y)])[:3] if x.shape else x,
            lambda: jnp.where(x < y, y, x),
        ]  # fmt: skip
        if not is_bool:
            c = self.number(x.dtype)
            ops += [
                lambda: x + y, lambda: x - y, lambda: x * y, lambda: x + c, lambda: x * c, lambda: lax.rem(x, y),
                lambda: lax.div(x, y), lambda: jnp.clip(x, *sorted([c, self.number(x.dtype)])), lambda: -x,
                lambda: x // c, lambda: x % c, lambda: jnp.abs(x), lambda: jnp.sign(x),
                lambda: jnp.where(x < 0, x + c, x), lambda: jnp.where(x > c, x - c, x), lambda: lax.clamp(y, x, y),
                lambda: lax.shift_right_logical(x, x.dtype.type(self.random.randint(0, 9))),
                lambda: lax.shift_right_arithmetic(x, y), lambda: lax.population_count(x), lambda: lax.clz(x),
            ]  # fmt: skip
        if x.shape and not is_bool:
            ops += [
                lambda: jnp.cumsum(x).astype(x.dtype), lambda: jnp.argmax(x), lambda: jnp.max(x), lambda: x[::-1],
                lambda: jnp.sort(x), lambda: lax.top_k(x, 2)[1], lambda: lax.iota(x.dtype, 3) + x,
                lambda: lax.reduce_sum(x, (0,)), lambda: x.at[1].set(self.number(x.dtype)),
                lambda: jnp.pad(x, 1)[1:4], lambda: x[jnp.clip(y, 0, 2).astype(jnp.int32)],
                lambda: x.at[jnp.asarray(y, jnp.int32)].get(mode="fill", fill_value=7),
            ]  # fmt: skip
        return self.random.choice(ops)()

    def loop(self, pool: list[Any], depth: int) -> Any:
        """Return the results of a loop or a branch, whose body is drawn too."""
        start = self.random.sample(pool, 3)
        kind = self.random.choice(["fori", "scan", "reverse", "while", "cond"])
        seed, trips = self.random.random(), self.random.randint(0, 4)

        def body(i: Any, state: Any) -> Any:
            inner = Draw(0)
            inner.random = random.Random(seed)
            values = [i, *state]
            for _ in range(4):
                inner.add(values, depth + 1)
            step = inner.random.choice([-2, -1, 1, 3])
            count = state[0] + np.asarray(step).astype(state[0].dtype) if state[0].dtype != bool else state[0]
            news = [count, *[inner.random.choice(values[1:]) for _ in state[1:]]]
            return tuple(_like(new, old) for new, old in zip(news, state, strict=True))

        if kind == "fori":
            return lax.fori_loop(0, trips, body, tuple(start))
        if kind == "while":
            up = jnp.int32(self.random.randint(-1, 4))
            test = self.random.choice([lambda i: i < up, lambda i: (i <= up) & (i < 3), lambda i: ~(i >= up)])
            return lax.while_loop(lambda s: test(s[0]), lambda s: (s[0] + 1, *body(*_split(s))), (jnp.int32(0), *start))
        if kind == "cond":
            return lax.cond(jnp.any(start[0] != 0), lambda s: body(jnp.int32(1), s), lambda s: s, tuple(start))

        def step(state: Any, i: Any) -> Any:
            new = body(i, state)
            return new, new[0]

        xs = jnp.arange(trips, dtype=jnp.int32) - 1
        state, ys = lax.scan(step, tuple(start), xs, reverse=kind == "reverse")
        return (*state, jnp.sum(ys))

    def add(self, pool: list[Any], depth: int) -> None:
        """Add one value or several to those that there are, unless JAX refuses it."""
        try:
            if depth < 2 and len(pool) > 3 and self.random.random() < 0.15:
                pool += self.loop(pool, depth)
            else:
                pool.append(self.step(pool))
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return

    def function(self, length: int) -> Callable[..., Any]:
        state = self.random.getstate()

        def run(*operands: Any) -> Any:
            self.random.setstate(state)
            pool = list(operands)
            for _ in range(length):
                self.add(pool, 0)
            return pool

        return run


def _split(state: Any) -> tuple[Any, Any]:
    return state[0], state[1:]


def _like(new: Any, old: Any) -> Any:
    """Return a value in the type of another one."""
    new = jnp.ravel(new)[0] if new.shape and not old.shape else new
    return jnp.broadcast_to(jnp.resize(new, old.shape) if new.shape else new, old.shape).astype(old.dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_values_lie_in_their_ranges() -> None:
    run = Run()
    with jax.enable_x64():
        specs = [array(*shape, dtype=np.dtype(name)) for name in DTYPES for shape in SHAPES]
        for seed in range(SEED, SEED + COUNT):
            function = Draw(seed).function(24)
            program = flat(function, *specs)
            generator = Draw(seed)
            for _ in range(2):
                operands = [
                    jnp.asarray(np.reshape([generator.number(s.dtype) for _ in range(s.size)], s.shape), s.dtype)
                    for s in specs
                ]
                run.program(known_ranges(program), operands)
    assert run.told > run.checked / 4


def _walk(table: Any) -> Any:
    def step(i: Any, path: Any) -> Any:
        return path.at[i + 1].set(path[i] + table[i % 3, path.shape[0] - 1 - i])

    return lax.fori_loop(0, 5, step, jnp.zeros(6))


def _masked(x: Any) -> Any:
    places = jnp.arange(x.shape[0])
    return x[places] + x[jnp.where(places < 2, 0, places - 2)] + x[(places + 1) % x.shape[0]]


def _search(x: Any) -> Any:
    def step(state: Any) -> Any:
        i, total = state
        return i + 1, total + x[i] + x[jnp.argmax(x)]

    return lax.while_loop(lambda s: s[0] < x.shape[0], step, (0, 0.0))[1]


def _total(x: Any) -> Any:
    return lax.scan(lambda c, i: (c + x[i], x[i]), 0.0, jnp.arange(x.shape[0]))[0]


def _beams(x: Any) -> Any:
    values, flat_places = lax.top_k(x.reshape(-1), 3)
    return x[flat_places // 4, flat_places % 4] + values + x.at[flat_places // 4].add(1.0).sum()


def _bits(x: Any, i: Any) -> Any:
    return x[i & 3] + x[jnp.clip(i, 0, 3)] + x[jnp.abs(i % 4)]


CASES: dict[str, tuple[Callable[..., Any], list[Any], list[str]]] = {
    "counter": (_walk, [(3, 6)], []),
    "iota": (_masked, [(6,)], []),
    "while": (_search, [(5,)], ["Less", "Where"]),
    "quotient": (_beams, [(5, 4)], ["Where"]),
    "symbolic": (_total, [("N",)], []),
    "one_hot": (lambda x: x.at[jnp.argmax(x, 1), jnp.arange(3)].set(0.0), [(3, 4)], ["Where"]),
    "bits": (_bits, [(4,), "int32[2]"], ["Clip", "Less", "Where"]),
    "rows of pairs": (lambda x, i: x[i & 3, i & 1], [(4, 2), "int32[2,5]"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_guards_that_are_idle_go(name: str) -> None:
    function, inputs, left = CASES[name]
    model = to_onnx(function, inputs)
    assert {"Clip", "Less", "Where"} & set(operators(model)) <= set(left)
    check(model, function, inputs, kinds=("moderate",))


BYTES = array(3, dtype=np.dtype("uint8"))
INTEGERS = array(3, dtype=np.dtype("int32"))
ROWS = array(4, 5)


def _one_more(i: Any) -> Any:
    dims = lax.GatherDimensionNumbers((1,), (), (0,))
    return lax.gather(i & 3, (i & 1)[:, None] + np.uint8(1), dims, (2,), mode="fill", fill_value=77)


# Functions of one array, and the range of the result.
EXACT: dict[str, tuple[Callable[..., Any], Any, tuple[int, int]]] = {
    "less": (lambda i: jnp.where(i < 5, i, np.uint8(0)), BYTES, (0, 4)),
    "at most": (lambda i: jnp.where(i <= 5, i, np.uint8(0)), BYTES, (0, 5)),
    "more": (lambda i: jnp.where(i > 5, i, np.uint8(9)), BYTES, (6, 255)),
    "at least": (lambda i: jnp.where(i >= 5, i, np.uint8(9)), BYTES, (5, 255)),
    "not less": (lambda i: jnp.where(i < 5, np.uint8(7), i), BYTES, (5, 255)),
    "not more": (lambda i: jnp.where(i > 5, np.uint8(0), i), BYTES, (0, 5)),
    "moved": (lambda i: jnp.where(i < 5, i + np.uint8(3), np.uint8(4)), BYTES, (3, 7)),
    "moved, which wraps around": (lambda i: jnp.where(i > 5, i + np.uint8(3), np.uint8(4)), BYTES, (0, 255)),
    "negative": (lambda i: jnp.where(i < 0, i + 4, i), INTEGERS, (-(2**31) + 4, 2**31 - 1)),
    "never": (lambda i: jnp.where(i > 255, i, np.uint8(4)), BYTES, (4, 4)),
    "places": (lambda x: jnp.argmax(x, 0), ROWS, (0, 3)),
    "places of the other axis": (lambda x: jnp.argmin(x, 1), ROWS, (0, 4)),
    "top": (lambda x: lax.top_k(x, 2)[1], ROWS, (0, 4)),
    "pivots": (lambda x: lax.linalg.lu(x)[1], array(4, 4), (0, 3)),
    "permutation": (lambda x: lax.linalg.lu(x)[2], array(4, 4), (0, 3)),
    "sort": (lambda i: jnp.sort(i & 3), BYTES, (0, 3)),
    "split": (lambda i: jnp.split(i & 3, 3)[1], BYTES, (0, 3)),
    "slice": (lambda i: lax.dynamic_slice(i & 3, (i[0],), (2,)), BYTES, (0, 3)),
    "update": (lambda i: (i & 3).at[0].set(np.uint8(9)), BYTES, (0, 9)),
    "scatter": (lambda i: (i & 3).at[i].set(np.uint8(9)), BYTES, (0, 9)),
    "sum": (lambda i: (i & 3).at[i].add(np.uint8(9)), BYTES, (0, 255)),
    "filled": (lambda i: (i & 3).at[i].get(mode="fill", fill_value=77), BYTES, (0, 77)),
    "never filled": (lambda i: (i & 3).at[i & 1].get(mode="fill", fill_value=77), BYTES, (0, 3)),
    "filled at the end": (lambda i: (i & 3).at[i & 3].get(mode="fill", fill_value=77), BYTES, (0, 77)),
    "filled, where indices are one more than places": (_one_more, BYTES, (0, 77)),
    "chosen by what is computed of other numbers": (lambda b: jnp.where(b, 3, 9), array(3, dtype=np.bool_), (3, 9)),
    "clipped": (lambda i: (i & 3).at[i].get(mode="clip"), BYTES, (0, 3)),
    "quotient": (lambda i: (i & 255) // 16, INTEGERS, (0, 15)),
    "clip": (lambda i: jnp.clip(i, 3, 9), INTEGERS, (3, 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_the_range_of_a_result(name: str) -> None:
    function, spec, expected = EXACT[name]
    assert known_ranges(flat(function, spec)).outputs() == [expected]


WITHIN = [
    ([(0, 2)], [2], True),
    ([(0, 3)], [2], False),
    ([(-1, 2)], [2], False),
    ([(0, 2)], [2, 5], True),  # one range for all components
    ([(0, 2)], [5, 1], False),
    ([(0, 2), (0, 5)], [2, 5], True),
    ([(0, 5), (0, 2)], [2, 5], False),
    ([(0, 2), (0, 2)], [2], False),
    ([], [], True),
]


@pytest.mark.parametrize(("ranges", "bounds", "expected"), WITHIN)
def test_whether_index_vectors_are_within(
    ranges: Sequence[tuple[int, int]],
    bounds: Sequence[int],
    expected: bool,  # noqa: FBT001
) -> None:
    assert are_within([Range(*one) for one in ranges], bounds) is expected


def columns(width: int, *, count: int = 2) -> Callable[..., Any]:
    """Return a function that joins columns of bytes up to 3, 7, 15 ... along the last axis."""
    return lambda i: jnp.concatenate([jnp.broadcast_to(i & 2 ** (n + 2) - 1, (5, width)) for n in range(count)], 1)


ONE = array(5, 1, dtype=np.dtype("uint8"))
# What is joined, and the ranges of the components of such index vectors.
COMPONENTS: dict[str, tuple[Callable[..., Any], Any, list[tuple[int, int]]]] = {
    "pairs": (columns(1), ONE, [(0, 3), (0, 7)]),
    "two and two": (columns(2), ONE, [(0, 3), (0, 3), (0, 7), (0, 7)]),
    "as many as are told apart": (columns(8), ONE, [(0, 3)] * 8 + [(0, 7)] * 8),
    "more": (columns(9), ONE, [(0, 7)]),
    "rows": (lambda i: jnp.concatenate([i & 3, i & 7], 0), ONE, [(0, 7)]),
    "no integers": (lambda x: jnp.concatenate([x, x], 1), ROWS, []),
    "not joined": (lambda i: i & 3, ONE, [(0, 3)]),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_ranges_of_index_vectors(name: str) -> None:
    function, spec, expected = COMPONENTS[name]
    program = flat(function, spec)
    assert list(known_ranges(program).components(program.outputs[0])) == expected


# Indices, and what is left of their computation: a known number that is not too long, or the equation.
NUMBERS: dict[str, tuple[Callable[..., Any], int, list[str]]] = {
    "known": (lambda i: i & 0, 3, []),
    "known and long": (lambda i: i & 0, 64, []),
    "known and longer": (lambda i: i & 0, 65, ["and"]),
    "not known": (lambda i: i & 1, 3, ["and"]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_known_index_is_a_constant(name: str) -> None:
    index, count, left = NUMBERS[name]
    spec = array(count, dtype=np.dtype("int32"))
    program = use_ranges(flat(lambda x, i: x.at[index(i)].get(mode="promise_in_bounds"), ROWS, spec))
    assert [eqn.primitive for eqn in program.eqns if eqn.primitive == "and"] == left
