"""Programs of small steps take few nodes, with JAX's numbers: pieces, windows, lookups, small linear algebra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators
from jax2onnx.tidy import tidy


def _stacked(x, w):
    return jnp.stack([jnp.tanh(x[i] * (i + 2.0)) - w for i in range(4)])


def _updated(x, w):
    for i in range(3):
        x = x.at[i].set(x[i] + 0.1 * (jnp.sin(x[i]) - w[i]))
    return x


def _forces(x, w):
    total = jnp.zeros_like(x)
    for i in range(4):
        pull = w * (x[i + 1] - x[i])
        total = total.at[i].add(pull).at[i + 1].add(-pull)
    return total


def _signs(x, w):
    """Return what tells a 0 from a -0, after windows were added."""
    return 1.0 / x.at[1:3].add(w).at[3:].add(-0.0)


def _chosen(x, i):
    return x[i] + x[i + 1 - 1].sum()


def _wrapped(x, i):
    place = jnp.clip(i, -4, 3)
    return x[place], x.at[place].set(7.0), x.at[place].add(1.0), lax.dynamic_slice_in_dim(x, place % 4, 1)


def _written(x, i):
    row, column = jnp.clip(i, 0, 3), jnp.clip(i, 0, 2)
    return x.at[row, column].set(9.0), x.at[row, column].multiply(2.0), x[row, column]


def _told_apart(x, i):
    return x != 0, i != 0, (x != 0) != (x > 1), jnp.where(i > 0, x > 0, x < -1), jnp.where(i > 0, x > 0, i < 9)


def _counted(x, i):
    """Count, for each number, the steps after which it is small: the lanes of a loop end one after the other."""

    def step(state):
        x, count, _ = state
        return lax.cond(x > 8.0, lambda x: x / 4, lambda x: x - 1, x), count + 1, x > 2

    return jax.vmap(lambda x: lax.while_loop(lambda s: s[0] > 1, step, (x, i, False)))(x)


def _divided(x, i):
    return i // 5, i % 5, jnp.divmod(i, 3), jnp.where(x > 0, i, 0), jnp.where(i > 2, i + 1, i), jnp.where(x > 0, 1, 0)


def _counts(x, i):
    """Take extrema of numbers that cannot be NaN, and of some that can."""
    counts = (x > 0).astype(jnp.float32) * 3.0 + jnp.arange(7)
    return jnp.argmax(counts), counts.max(), jnp.argmin(jnp.where(x > i, counts, 0.5)), (counts * x).max()


def _quaternions(u, v):
    """Multiply quaternions: the terms of the four sums have different signs."""
    return jnp.array(
        [
            u[0] * v[0] - u[1] * v[1] - u[2] * v[2] - u[3] * v[3],
            u[0] * v[1] + u[1] * v[0] + u[2] * v[3] - u[3] * v[2],
            u[0] * v[2] - u[1] * v[3] + u[2] * v[0] + u[3] * v[1],
            u[0] * v[3] + u[1] * v[2] - u[2] * v[1] + u[3] * v[0],
        ]
    )


def _rotated(x, q):
    """Rotate vectors by quaternions."""
    s, u = q[0], q[1:]
    return 2 * (u @ x) * u + (s * s - u @ u) * x + 2 * s * jnp.cross(u, x)


def _in_turn(u, v):
    return _quaternions(_quaternions(u, v), u)


def _at_corners(x, i):
    """Index by two numbers that may count from the end, or be out of bounds, each of them on its own."""
    j = -i
    found = [x[i, j], x[j, i], x[i, 2], x[1, j], x.at[i, j].get(mode="fill", fill_value=7.0)]
    written = [x.at[i, j].set(2.0), x.at[j, i].add(3.0, mode="clip"), x.at[i, 0].multiply(2.0)]
    many = jnp.stack([i, j, i + 1])
    return found, written, x[many, many - 1], x.at[many, -many].set(5.0), x.at[many % 3, many % 4].add(1.0)


CASES = {
    "quaternions": (_quaternions, [(4,), (4,)], 14),
    "a batch of quaternions": (jax.vmap(_quaternions), [("B", 4), ("B", 4)], 14),
    "quaternions in turn": (jax.vmap(_in_turn), [(7, 4), (7, 4)], 28),
    "cross products": (jax.vmap(jnp.cross), [("B", 3), ("B", 3)], 7),
    "rotated": (jax.vmap(_rotated), [("B", 3), ("B", 4)], 20),
    "at corners": (_at_corners, [(4, 3), "int32[]"], 126),
    "counts": (_counts, [(7,), "int32[]"], 20),
    "divided": (_divided, [(7,), "int32[]"], 26),
    "told apart": (_told_apart, [(7,), "int32[]"], 15),
    "stacked": (_stacked, [(4, 3), (3,)], 6),
    "updated": (_updated, [(3, 5), (3, 5)], 6),
    "forces": (_forces, [(5, 3), (3,)], 12),
    "signs of zeros": (_signs, [(5,), (2,)], 6),
    "chosen": (_chosen, [(4, 3), "int32[]"], 15),
    "wrapped": (_wrapped, [(4,), "int32[]"], 23),
    "written": (_written, [(4, 3), "int32[]"], 16),
}


@pytest.mark.parametrize("name", CASES)
def test_programs(name):
    function, inputs, most = CASES[name]
    model = to_onnx(function, inputs)
    assert len(model.graph.node) <= most, operators(model)
    check(model, function, inputs)


def test_lanes_that_end_one_after_the_other():
    inputs = [(5,), "int32[]"]
    model = to_onnx(_counted, inputs)
    assert sum(operators(model).values()) <= 18, operators(model)
    x = np.asarray([3.0, 100.0, -1.0, 9.0, 1.5], np.float32)
    check(model, _counted, inputs, values=[[x, np.int32(2)], [-x, np.int32(0)]])


def test_extrema_beside_nan():
    inputs = [(7,), "int32[]"]
    model = to_onnx(_counts, inputs)
    assert operators(model)["IsNaN"] == 0
    x = np.asarray([np.nan, -0.0, 1.0, np.inf, -np.inf, 2.0, -3.0], np.float32)
    check(model, _counts, inputs, values=[[x, np.int32(0)], [-x, np.int32(1)], [x[::-1].copy(), np.int32(9)]])


SPECIAL = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -3.0, 3e38, -3e38, 1e-40], np.float32)


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("reduction", [jnp.max, jnp.min])
def test_extrema_of_few_numbers_keep_nan_without_a_choice(reduction, axis):
    def extrema(x):
        return reduction(x, axis=axis)

    model = to_onnx(extrema, [(4, 10)])
    assert not operators(model).keys() & {"IsNaN", "Where"}, operators(model)
    rng = np.random.default_rng(0)
    drawn = [rng.choice(SPECIAL[start:], (4, 10)) for start in (0, 1, 2, 3) for _ in range(10)]
    check(model, extrema, [(4, 10)], values=[[x] for x in drawn])


def test_extrema_of_zeros_have_their_sign():
    def reciprocals(x):
        return 1 / jnp.max(x, axis=1), 1 / jnp.min(x, axis=1)

    zeros = np.asarray([[-0.0, -0.0, -0.0], [0.0, 0.0, 0.0], [-0.0, 0.0, -0.0]], np.float32)
    check(to_onnx(reciprocals, [(3, 3)]), reciprocals, [(3, 3)], values=[[zeros]])


def test_quotients_are_rounded_down():
    inputs = [(7,), "int32[]"]
    numbers = [*range(-7, 8), 2**31 - 1, -(2**31), -(2**31) + 1]
    values = [[np.linspace(-1, 1, 7, dtype=np.float32), np.int32(i)] for i in numbers]
    check(to_onnx(_divided, inputs), _divided, inputs, values=values)


def test_tests_of_special_numbers():
    inputs = [(7,), "int32[]"]
    x = np.asarray([np.nan, -0.0, 0.0, np.inf, -np.inf, 2e-38, -3.0], np.float32)
    check(to_onnx(_told_apart, inputs), _told_apart, inputs, values=[[x, np.int32(i)] for i in (-1, 0, 2)])


def test_pairs_of_indices():
    inputs = [(4, 3), "int32[]"]
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    values = [[x, np.int32(i)] for i in (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 100)]
    check(to_onnx(_at_corners, inputs), _at_corners, inputs, values=values)


def test_indices_out_of_bounds():
    inputs = [(4,), "int32[]"]
    model = to_onnx(_wrapped, inputs)
    x = np.asarray([1.0, -0.0, np.nan, np.inf], np.float32)
    check(model, _wrapped, inputs, values=[[x, np.int32(i)] for i in (-9, -5, -4, -1, 0, 3, 4, 100)])


MAPPED = {
    "row": (lambda x, i, _: jax.vmap(lambda i: x[0][i])(i), 11),
    "row of each": (lambda x, i, _: jax.vmap(lambda x, i: x[i])(x, i), 4),
    "window of each": (lambda x, i, _: jax.vmap(lambda x, i: lax.dynamic_slice_in_dim(x, i, 1))(x, i), 9),
    "column of each": (lambda x, i, _: jax.vmap(lambda x, i: x[:, i])(x, i), 5),
    "written to each": (jax.vmap(lambda x, i, u: lax.dynamic_update_index_in_dim(x, u, i, 0)), 16),
    "filled": (lambda x, i, _: jax.vmap(lambda x, i: x.at[i].get(mode="fill"))(x, i), 14),
}


@pytest.mark.parametrize("dims", [(6, 5, 3), ("N", 5, 3), ("N", "M", 3)], ids=str)
@pytest.mark.parametrize("name", MAPPED)
def test_mapped_lookups(name, dims):
    """JAX makes index vectors of what is mapped, of which only the components that move a window are used."""
    function, most = MAPPED[name]
    inputs = [dims, f"int32[{dims[0]}]", (dims[0], 3)]
    model = to_onnx(function, inputs)
    if dims[1] == 5:
        assert len(model.graph.node) <= most, operators(model)
    x, u = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    indices = [np.asarray(i, np.int32) for i in ([0, 4, -1, 5, -5, -6], [100, -100, 2, 3, -2, 1])]
    check(model, function, inputs, values=[[x, i, u[:, 0]] for i in indices])


UNARY = [jnp.sin, jnp.tanh, jnp.abs, jnp.exp, jnp.negative, lambda x: jnp.where(x > 0, x, -2.0 * x)]
BINARY = [jnp.add, jnp.multiply, jnp.subtract, jnp.maximum, lambda x, y: x / (1.0 + y * y)]


def _random_program(seed):
    """Return a program that computes pieces of an array one by one, mostly alike, and joins them."""
    rng = np.random.default_rng(seed)
    count, depth = int(rng.integers(2, 6)), int(rng.integers(1, 6))
    kinds = [int(rng.integers(4)) for _ in range(depth)]
    picks = [[int(rng.integers(count)) for _ in range(count)] for _ in range(depth)]
    numbers = rng.integers(1, 4, (depth, count)).astype(np.float32)
    ops = [(UNARY[rng.integers(len(UNARY))], BINARY[rng.integers(len(BINARY))]) for _ in range(depth)]
    odd, joint = int(rng.integers(-2, count)), int(rng.integers(4))
    subtracts = rng.integers(2, size=(depth, count)).astype(bool)

    def program(x, y):
        pieces = [x[i] for i in range(count)]
        for level, (kind, pick, number, (unary, binary)) in enumerate(zip(kinds, picks, numbers, ops, strict=True)):
            new = []
            for i, value in enumerate(pieces):
                other = pieces[pick[i]] if kind >= 2 else float(number[i])
                signed = jnp.subtract if subtracts[level][i] else jnp.add
                new.append(unary(value) if kind == 0 else (signed if kind == 3 else binary)(value, other))
            pieces = new
        if odd >= 0:
            pieces[odd] = pieces[odd] * y
        if joint == 0:
            return jnp.stack(pieces), pieces[0]
        if joint == 1:
            return jnp.concatenate([piece[None] for piece in pieces[::-1]])
        total = x
        for i, piece in enumerate(pieces):
            total = total.at[i].add(piece) if joint == 2 else total.at[i].set(piece + total[i])
            if joint == 2 and i:
                total = total.at[i - 1].add(-piece)
        return total

    return program, [(count, 3), (3,)]


@pytest.mark.parametrize("seed", range(40))
def test_random_pieces(seed):
    function, inputs = _random_program(seed)
    check(to_onnx(function, inputs), function, inputs, kinds=("ordinary", "special"))


def test_random_pieces_are_computed_at_once(monkeypatch):
    programs = [_random_program(seed) for seed in range(10)]
    after = sum(len(to_onnx(*program).graph.node) for program in programs)
    left_out = {"compute_alike", "forward_pieces", "join_windows", "split_at_once"}
    for group in ("_NAMING_AND_JOINING", "_COMPUTING_AT_ONCE", "_SHORTENING"):
        rewrites = getattr(tidy, group)
        kept = [rewrite for rewrite in rewrites if rewrite.function.__name__ not in left_out]
        assert len(kept) < len(rewrites)
        monkeypatch.setattr(tidy, group, kept)
    before = sum(len(to_onnx(*program).graph.node) for program in programs)
    assert after <= 0.7 * before


def _spd(a):
    return a @ a.mT + 2 * jnp.eye(a.shape[-1])


SOLVERS = {
    "cholesky": (lambda a, b: jnp.linalg.cholesky(_spd(a)) @ b, 34),
    "cholesky solve": (lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(_spd(a)), True), b), 59),
    "solve": (lambda a, b: jnp.linalg.solve(a + 3 * jnp.eye(a.shape[-1]), b), 76),
    "lower": (lambda a, b: jax.scipy.linalg.solve_triangular(_spd(a), b, lower=True), 30),
    "qr": (lambda a, b: jnp.linalg.qr(a)[1] @ b, 150),
    "least squares": (lambda a, b: jnp.linalg.qr(a[..., :2])[0].mT @ b, 105),
    "upper, transposed": (lambda a, b: jax.scipy.linalg.solve_triangular(_spd(a), b, trans=1), 30),
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("shape", [(4, 4), (7, 4, 4), (2, 2), (1, 1)])
def test_small_matrices(name, shape):
    function, most = SOLVERS[name]
    inputs = [shape, (*shape[:-1], 3)]
    model = to_onnx(function, inputs)
    assert "Loop" not in operators(model)
    assert "Scan" not in operators(model)
    if shape == (4, 4):
        assert len(model.graph.node) <= most
    check(model, function, inputs, kinds=("ordinary",))


@pytest.mark.parametrize("left_side", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transpose_a", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
def test_all_triangles(left_side, lower, transpose_a, unit_diagonal):
    def function(a, b):
        a = a + 3 * jnp.eye(a.shape[-1])
        b = b if left_side else b.mT
        form = {"left_side": left_side, "lower": lower, "transpose_a": transpose_a, "unit_diagonal": unit_diagonal}
        return lax.linalg.triangular_solve(a, b, **form)

    for shape in [(2, 2), (3, 3), (5, 5), (2, 3, 3), (0, 3, 3)]:
        inputs = [shape, (*shape[:-1], 2)]
        check(to_onnx(function, inputs), function, inputs, kinds=("ordinary",))


def test_a_matrix_that_is_not_positive_definite():
    def function(a):
        return jnp.linalg.cholesky(a)

    good, zero = np.eye(3, dtype=np.float32), np.diag(np.float32([1, 0, 1]))
    negative, hidden = np.diag(np.float32([1, 1, -1])), np.float32([[1, 2, 0], [2, 1, 0], [0, 0, 1]])
    lone = good.copy()
    lone[2, 2] = np.nan
    batch = np.stack([good, zero, negative, hidden, lone])
    check(to_onnx(function, [(5, 3, 3)]), function, [(5, 3, 3)], values=[[batch]])


def test_places_that_are_known_are_looked_up_along_one_axis():
    i, j = np.triu_indices(4)
    functions = {
        "diagonal": (lambda x: jnp.diagonal(x, axis1=1, axis2=2), [(3, 4, 5)]),
        "diagonals": (lambda x: jnp.diagonal(x, axis1=-2, axis2=-1), [("B", 4, 4)]),
        "upper": (lambda x: x[:, i, j], [(3, 4, 4)]),
        "from the end": (lambda x: x[:, np.array([-1, 0]), np.array([0, -2])], [(3, 4, 4, 2)]),
    }
    for function, inputs in functions.values():
        model = to_onnx(function, inputs)
        assert len(model.graph.node) <= 2
        check(model, function, inputs)
    first = lambda x: x[i, j]  # noqa: E731
    assert "GatherND" in operators(to_onnx(first, [(4, 4, 3)]))


def test_rows_of_one_matrix_for_a_batch():
    table = np.arange(12, dtype=np.float32).reshape(3, 4)

    def function(x, i):
        same = jnp.take_along_axis(jnp.broadcast_to(table, (2, 3, 4)), i[..., None], axis=1, mode="clip")
        other = jnp.take_along_axis(jnp.stack([table, table + 1]), i[..., None], axis=1, mode="clip")
        return same + x, other

    model = to_onnx(function, [(2, 5, 4), "int32[2,5]"])
    places = np.int32([[0, 1, 2, 0, 2], [2, 1, 0, 1, 7]])
    check(model, function, [(2, 5, 4), "int32[2,5]"], values=[[np.zeros((2, 5, 4), np.float32), places]])
    inverse = to_onnx(jnp.linalg.inv, [(7, 4, 4)])
    assert "GatherND" not in operators(inverse)
    check(inverse, jnp.linalg.inv, [(7, 4, 4)], kinds=("ordinary",))


def test_a_remainder_is_one_node():
    def function(x, y):
        return lax.rem(x, jnp.int32(7)), lax.rem(x, jnp.int32(-3)), lax.rem(y, jnp.uint32(5))

    model = to_onnx(function, ["int32[5]", "uint32[5]"])
    assert dict(operators(model)) == {"Mod": 3}
    smallest = np.iinfo(np.int32).min
    check(model, function, ["int32[5]", "uint32[5]"], values=[[
        np.int32([smallest, -7, -1, 8, 2**31 - 1]), np.uint32([0, 4, 5, 2**31, 2**32 - 1])
    ]])  # fmt: skip
    many = to_onnx(lambda x: lax.rem(x, jnp.int32(7)), ["int32[5000]"])
    assert "Mod" not in operators(many)


@pytest.mark.parametrize(("shape", "m"), [((3,), 3), ((4, 3), 3), (("B", 5), 5), ((2, 3), 6), ((1,), 1), ((0, 3), 3)])
def test_the_order_that_few_exchanges_result_in(shape, m):
    def function(pivots):
        return lax.linalg.lu_pivots_to_permutation(pivots, m)

    spec = f"int32[{','.join(map(str, shape))}]"
    model = to_onnx(function, [spec])
    assert not {"Loop", "Scan"} & set(operators(model))
    assert len(model.graph.node) <= 2 + 2 * shape[-1]
    sizes = [7 if size == "B" else size for size in shape]
    for seed in range(4):
        pivots = np.random.default_rng(seed).integers(0, m, sizes).astype(np.int32)
        check(model, function, [spec], values=[[pivots]])


def test_rows_are_exchanged_by_tables():
    def function(a):
        return lax.linalg.lu(a)

    for shape, most in [((5, 5), 68), ((2, 5, 5), 68), ((2, 6, 3), 51), ((3, 3), 37), ((2, 2), 19), ((2, 4, 5), 54)]:
        model = to_onnx(function, [shape])
        assert len(model.graph.node) <= most
        normal = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        tied = np.sign(normal)
        singular = np.zeros_like(normal)
        singular[..., 1] = normal[..., 1]
        check(model, function, [shape], values=[[normal], [tied], [singular]])
    # NaN is exchanged with no number.
    matrices = np.float32([[[np.nan, 1], [2, 3]], [[2, 3], [np.nan, 1]], [[1, 3], [2, 1]]])
    check(to_onnx(function, [(3, 2, 2)]), function, [(3, 2, 2)], values=[[matrices]])


def test_a_count_of_bools_compares_none_of_them():
    def function(x):
        return jnp.count_nonzero(x < 0), x[jnp.argmax(x)]

    model = to_onnx(function, [(5,)])
    assert not {"Equal", "Not"} & set(operators(model))
    check(model, function, [(5,)])


def _descended(table, start):
    def step(_, at):
        place, done = at
        following = table[place]
        return jnp.where(done | (following < 0), place, following), done | (following < 0)

    return lax.fori_loop(0, 4, step, (start, False))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_shift_by_a_known_number_of_bits_divides(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    limits = np.iinfo(dtype)
    numbers = np.array(
        [limits.min, limits.min + 1, -(2**20) - 1, -3, -2, -1, 0, 1, 2, 3, limits.max - 1, limits.max], dtype
    )
    amounts = np.array([0, 1, 2, 3, 7, 15, 16, bits - 3, bits - 2], dtype)

    def function(x):
        return x[:, None] >> amounts

    spec = [jax.ShapeDtypeStruct(numbers.shape, dtype)]
    with jax.enable_x64(dtype == np.int64):
        model = to_onnx(function, spec)
        assert set(operators(model)) <= {"BitwiseAnd", "Div", "Reshape", "Unsqueeze"}
        check(model, function, spec, values=[[numbers]])
        # The power of the sign's bit is no number of the dtype.
        whole = to_onnx(lambda x: x >> bits - 1, spec)
        assert "Div" not in operators(whole)
        check(whole, lambda x: x >> bits - 1, spec, values=[[numbers]])


def test_a_logarithm_of_a_sum_of_powers_chooses_once():
    """The power is at most 1, so no infinity and no small divisor is looked for; NaN is, where both are infinite."""
    model = to_onnx(jnp.logaddexp, [(40,), (40,)])
    counts = operators(model)
    assert counts["Where"] == 1
    assert sum(counts.values()) <= 16
    one = np.float32([0, -0.0, np.inf, -np.inf, np.inf, np.nan, 0, 1e-3, 88, 3e38] * 4)
    other = np.float32([0, -0.0, np.inf, -np.inf, -np.inf, 0, np.nan, -17, -89, -3e38] * 4)
    near = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    check(model, jnp.logaddexp, [(40,), (40,)], values=[[one, other], [other, one], [*near], [*(near * 20)]])


def test_a_short_loop_of_derivatives_is_its_steps():
    """Sums of derivatives are sums as others are; a metric of ones takes no node."""

    def function(x, v):
        def step(_, state):
            x, v = state
            v = v - 0.1 * jax.grad(lambda y: jnp.sum(y**2) * jnp.sum(y**4))(x)
            return x + 0.1 * (jnp.ones(3, x.dtype) * v), v

        return lax.fori_loop(0, 4, step, (x, v))

    model = to_onnx(function, [(3,), (3,)])
    assert not {"Loop", "Scan"} & set(operators(model))
    assert not any((onnx.numpy_helper.to_array(c) == np.ones(3)).all() for c in model.graph.initializer if 3 in c.dims)
    check(model, function, [(3,), (3,)])


def test_a_short_loop_is_its_steps():
    """Its first step, of which more is known, takes fewer nodes than the others."""
    model = to_onnx(_descended, ["int32[6]", "int32[]"])
    counts = operators(model)
    assert not {"Loop", "Scan"} & set(counts)
    assert counts["Or"] == 3
    tables = [np.array(t, np.int32) for t in ([1, 2, 3, 4, 5, -1], [-1] * 6, [2, 0, 1, 9, 4, 5])]
    check(
        model,
        _descended,
        ["int32[6]", "int32[]"],
        values=[[table, np.int32(start)] for table in tables for start in (0, 5, -1, 7)],
    )


@pytest.mark.parametrize(("length", "width"), [(9, 3), (4, 2000)])
def test_a_longer_loop_or_one_of_large_arrays_stays(length, width):
    model = to_onnx(lambda x: lax.fori_loop(0, length, lambda i, v: jnp.sin(v) * i, x), [(width,)])
    assert operators(model)["Scan"] == 1


def test_a_scan_of_matrices_stays():
    """It is one of layers, of which the user says whether they are unrolled."""
    weights = jnp.arange(48.0).reshape(3, 4, 4) / 50
    model = to_onnx(lambda x: lax.scan(lambda c, w: (jnp.sin(c @ w), None), x, weights)[0], [(4,)], unroll_layers=False)
    assert operators(model)["Scan"] == 1


def test_what_a_loop_starts_with_is_known():
    """The condition of constants is no node; one that a loop makes of its state is."""

    def run(x, way):
        def lanes(state):
            return jnp.any(state[0] < 3)

        return lax.while_loop(lanes, lambda state: (state[0] + way, state[1] * 2), (jnp.zeros(4, jnp.int32), x))[1]

    model = to_onnx(run, [(4,), "int32[]"])
    assert {node.op_type for node in model.graph.node} == {"Loop"}
    check(model, run, [(4,), "int32[]"], values=[[np.arange(4, dtype=np.float32), np.int32(way)] for way in (1, 2)])


def test_what_all_iterations_look_up_is_looked_up_once():
    """An index that is computed before a loop that runs is in range, whatever the runtime finds out about that."""

    def run(x, i):
        return lax.scan(lambda c, v: (jnp.sin(c) + x[i] * v, None), 0.0, x)[0]

    model = to_onnx(run, [(12,), "int32[]"])
    (loop,) = (node for node in model.graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
    assert "Gather" not in {node.op_type for node in body.node}
    check(
        model,
        run,
        [(12,), "int32[]"],
        values=[[np.arange(12, dtype=np.float32), np.int32(i)] for i in (0, 11, -3, 40, -40)],
    )
