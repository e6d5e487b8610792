"""Functions of JAX that ask for a size as an int, over symbolic sizes: searches, convolutions, spacings, transforms."""

import functools
import importlib
import sys
import threading
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest

from jax2onnx import check, errors, to_onnx
from jax2onnx.testing import Sized, run_sized, select

POINTS = jnp.linspace(-1.5, 1.5, 5)
LARGER = (2, 3, 5, 8, 17)
MULTIPLES = (1, 7, 8, 9, 16)
NO_EMPTY = ["N >= 1", "M >= 1"]


def search(method="scan", side="left"):
    return lambda a, v: jnp.searchsorted(jnp.sort(a), v, side=side, method=method)


def search_in_rows(a, v):
    return jax.vmap(jnp.searchsorted)(jnp.cumsum(jnp.abs(a), 1), v)


def interpolate(xp, fp):
    return jnp.interp(POINTS, jnp.cumsum(jnp.abs(xp) + 0.1), fp)


def interpolate_periodic(x, xp, fp):
    return jnp.interp(x, xp, fp, period=3.0)


def histogram(x, edges):
    return jnp.histogram(x, jnp.sort(edges))[0]


def convolve(mode):
    return lambda x, y: jnp.convolve(x, y, mode=mode)


def correlate(mode):
    return lambda x, y: jnp.correlate(x, y, mode=mode)


def smoothed(x):
    return jnp.convolve(x, jnp.ones(4) / 4, mode="same")


def long_convolution(u, k):
    size = u.shape[-1]
    spectrum = jnp.fft.rfft(u, n=2 * size) * jnp.fft.rfft(k, n=2 * size)
    return jnp.fft.irfft(spectrum, n=2 * size)[..., :size]


def coordinates(x):
    rows = jnp.linspace(-1, 1, x.shape[0])
    columns = jnp.linspace(0, 2, x.shape[1], endpoint=False)
    return x * rows[:, None] + columns


def cubes_of_filtered(x):
    """A gradient of ``irfft``, and with it of ``rfft``."""
    return (jnp.fft.irfft(jnp.fft.rfft(x) * 2, n=x.shape[-1]) ** 3).sum()


def pulled_back(x):
    size = x.shape[0]
    _, pull = jax.vjp(lambda y: jnp.fft.irfft(y + 1j * y * y, n=size), x[: size // 2 + 1])
    return pull(x)[0]


def pulled_back_from_spectrum(x):
    spectrum, pull = jax.vjp(jnp.fft.rfft, x)
    return pull(spectrum * (1 + 2j))[0]


def tapered(x):
    size = x.shape[0]
    windows = [jnp.bartlett(size), jnp.blackman(size), jnp.hamming(size), jnp.hanning(size), jnp.kaiser(size, 5.0)]
    return [x * window for window in windows]


def attention(**options):
    return lambda q, k, v: jax.nn.dot_product_attention(q, k, v, **options)


def attention_of_lengths(q, k, v, lengths):
    lengths = jnp.abs(lengths) % (q.shape[1] + 1)
    both = {"query_seq_lengths": lengths, "key_value_seq_lengths": lengths}
    return jax.nn.dot_product_attention(q, k, v, **both)


HEADS = ("B", "T", 4, 8)
PROGRAMS = [
    Sized("hamming", lambda x: x * jnp.hamming(x.shape[0]), [("N",)], ["N >= 2"], sizes=LARGER),
    Sized("windows", tapered, [("N",)], ["N >= 2"], sizes=LARGER, heavy=True),
    Sized(
        "causal_attention_of_a_window",
        attention(is_causal=True, local_window_size=(3, 0)),
        [HEADS, HEADS, HEADS],
        ["B >= 1", "T >= 1"],
    ),
    Sized(
        "attention_of_a_window",
        attention(local_window_size=(2, 1)),
        [HEADS, ("B", "S", 2, 8), ("B", "S", 2, 8)],
        ["B >= 1", "T >= 1", "S >= 1"],
        heavy=True,
    ),
    Sized(
        "attention_of_lengths",
        attention_of_lengths,
        [HEADS, HEADS, HEADS, "int32[B]"],
        ["B >= 1", "T >= 1"],
        heavy=True,
    ),
    Sized("searchsorted", search(), [("N",), ("M",)]),
    Sized("searchsorted_right", search("scan_unrolled", "right"), [("N",), (5,)], heavy=True),
    Sized("searchsorted_by_sorting", search("sort"), [("N",), (5,)], heavy=True),
    Sized("searchsorted_by_sorting_right", search("sort", "right"), [("N",), (2, 3)], heavy=True),
    Sized("searchsorted_by_comparing", search("compare_all"), [("N",), (5,)], heavy=True),
    Sized("searchsorted_unsorted", jnp.searchsorted, [("N",), (5,)], heavy=True),
    Sized("searchsorted_integers", search(), ["int32[N]", "int32[M,2]"], heavy=True),
    Sized("searchsorted_in_rows", search_in_rows, [("B", "N"), ("B", 5)]),
    Sized("digitize", lambda a, v: jnp.digitize(v, jnp.sort(a)), [("N",), (5,)], ["N >= 1"], heavy=True),
    Sized("interp", interpolate, [("N",), ("N",)], ["N >= 1"]),
    Sized("interp_periodic", interpolate_periodic, [("M",), ("N",), ("N",)], NO_EMPTY, heavy=True),
    Sized("histogram", histogram, [("N",), ("M",)], ["M >= 2"], heavy=True),
    Sized("isin", jnp.isin, ["int32[N]", "int32[M]"], heavy=True),
    Sized("convolve_full", convolve("full"), [("N",), ("M",)], NO_EMPTY),
    Sized("convolve_same", convolve("same"), [("N",), ("M",)], NO_EMPTY),
    Sized("convolve_valid", convolve("valid"), [("N",), (3,)], ["N >= 1"], heavy=True),
    Sized("convolve_valid_longer", convolve("valid"), [("N",), (3,)], ["N >= 3"], sizes=LARGER, heavy=True),
    Sized("convolve_equal", convolve("full"), [("N",), ("N",)], ["N >= 1"], heavy=True),
    Sized("correlate_same", correlate("same"), [("N",), ("M",)], NO_EMPTY),
    Sized("correlate_valid", correlate("valid"), [("N",), ("M",)], NO_EMPTY, heavy=True),
    Sized("correlate_full", correlate("full"), [("N",), ("M",)], NO_EMPTY, heavy=True),
    Sized("correlate_longer", correlate("same"), [("N",), ("M",)], ["N >= M", "M >= 1"], heavy=True),
    Sized("smoothed", smoothed, [("N",)], ["N >= 1"], heavy=True),
    Sized("polymul", jnp.polymul, [("N",), ("M",)], NO_EMPTY, heavy=True),
    Sized("polyder", jnp.polyder, [("N",)], ["N >= 2"], sizes=LARGER, heavy=True),
    Sized(
        "convolve_2d",
        lambda x, y: jsp.signal.convolve2d(x, y, mode="same"),
        [("H", "W"), (3, 2)],
        ["H >= 3", "W >= 2"],
        heavy=True,
    ),
    Sized("convolve_nd", jsp.signal.convolve, [("N",), ("N",)], ["N >= 1"], heavy=True),
    Sized(
        "convolve_smaller",
        lambda x, y: jsp.signal.convolve(y, x, mode="same"),
        [("N",), (2,)],
        ["N >= 2"],
        sizes=LARGER,
        heavy=True,
    ),
    Sized("long_convolution", long_convolution, [("B", "N"), ("N",)], ["B >= 1", "N >= 1"], heavy=True),
    Sized("fft_of_8", lambda x: jnp.abs(jnp.fft.fft(x, n=8)), [("B", "N")], ["B >= 1", "N >= 1"], heavy=True),
    Sized("dct", jsp.fft.dct, [("B", "N")], ["B >= 1", "N >= 1"], heavy=True),
    Sized("idct", lambda x: jsp.fft.idct(x, norm="ortho"), [("B", "N")], ["B >= 1", "N >= 1"], heavy=True),
    Sized("dct_2d", jsp.fft.dctn, [("H", "W")], ["H >= 1", "W >= 1"], heavy=True),
    Sized("rfftfreq", lambda x: jnp.fft.rfftfreq(x.shape[0], 0.5), [("N",)], ["N >= 1"], sizes=MULTIPLES),
    Sized("gradient_of_fft", jax.grad(cubes_of_filtered), [("N",)], ["N >= 2"], sizes=LARGER),
    Sized("transpose_of_irfft", pulled_back, [("N",)], ["N >= 2"], sizes=LARGER, heavy=True),
    Sized("transpose_of_rfft", pulled_back_from_spectrum, [("N",)], ["N >= 2"], sizes=LARGER),
    Sized("map_of_batches", lambda x: jax.lax.map(jnp.cumsum, x, batch_size=4), [("N", 3)], sizes=MULTIPLES),
    Sized("packbits", lambda x: jnp.packbits(x > 0), [("N",)], sizes=MULTIPLES),
    Sized(
        "packbits_of_rows",
        lambda x: jnp.packbits(x, axis=-1, bitorder="little"),
        ["int32[B,N]"],
        sizes=MULTIPLES,
        heavy=True,
    ),
    Sized("packbits_of_columns", lambda x: jnp.packbits(x, axis=0), ["uint8[N,3]"], sizes=MULTIPLES, heavy=True),
    Sized("linspace", coordinates, [("H", "W")]),
    Sized(
        "linspace_of_arrays",
        lambda x: jnp.linspace(x[0], x[1], x.shape[0], axis=1),
        [("N", 3)],
        ["N >= 2"],
        sizes=LARGER,
        heavy=True,
    ),
    Sized(
        "linspace_integers", lambda x: jnp.linspace(0, 10, x.shape[0], dtype=int, retstep=True), [("N",)], heavy=True
    ),
    Sized("logspace", lambda x: x * jnp.logspace(0, 1, x.shape[0]), [("N",)], heavy=True),
    Sized("squeeze", jnp.squeeze, [("N", 1, 3)], ["N >= 2"], sizes=LARGER),
    Sized("corrcoef", jnp.corrcoef, [("N", 3)], ["N >= 2"], sizes=LARGER, heavy=True),
    Sized("mode", lambda x: jsp.stats.mode(x).mode, ["int32[N]"], ["N >= 1"], heavy=True),
    Sized("diagflat", jnp.diagflat, [("N",)], heavy=True),
    Sized("diag_indices", lambda x: x[jnp.diag_indices_from(x)], [("N", "N")], heavy=True),
]


@pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
def test_program(program):
    run_sized(program)


def test_the_search_takes_no_memory_of_both_sizes():
    model = to_onnx(search(), [("N",), ("M",)])
    (loop,) = [node for node in model.graph.node if node.op_type == "Loop"]
    assert "Gather" in {node.op_type for node in loop.attribute[0].g.node}


def test_an_order_that_the_result_depends_on_is_asked_for():
    with pytest.raises(errors.DimensionError, match="'N >= 3'"):
        to_onnx(jsp.signal.convolve, [("N",), (3,)])


@pytest.mark.parametrize(
    "program",
    [
        lambda x: jnp.pad(x, (0, 8 - x.shape[0] % 8)) if x.shape[0] % 8 else x,
        lambda x: x if not x.shape[0] % 8 else x[:-1],
        lambda x: x[:-1] if x.shape[0] - 1 else x,
    ],
    ids=["remainder", "no remainder", "one less"],
)
def test_whether_a_size_is_0_is_asked_for(program):
    with pytest.raises(errors.DimensionError, match="inconclusive"):
        to_onnx(program, [("N",)])
    known = {"constraints": ["N >= 2", "mod(N, 8) == 0"]}
    check(to_onnx(program, [("N",)], **known), program, [("N",)], sizes=(8, 16), **known)


EQUALITIES = [
    ("equal", lambda x: x[:-1] if x.shape[0] % 8 == 0 else x, "mod(N, 8) == 0", "mod(N, 8) >= 1"),
    ("unequal", lambda x: x if x.shape[0] != 1 else x * 2, "N == 1", "N >= 2"),
    ("in a tuple", lambda x: x.sum() if x.shape == (3, 4) else x, "N == 3", "N >= 4"),
]


@pytest.mark.parametrize(("program", "holds", "ruled_out"), [p[1:] for p in EQUALITIES], ids=[p[0] for p in EQUALITIES])
def test_whether_a_size_is_a_number_is_told_to_be_unknown(program, holds, ruled_out):
    with pytest.warns(UserWarning, match="the program asks whether") as warned:
        to_onnx(program, [("N", 4)])
    (warning,) = warned
    assert warning.filename == __file__
    assert f"'{holds}'" in str(warning.message)
    assert f"'{ruled_out}'" in str(warning.message)
    for constraint in (holds, ruled_out):
        model = to_onnx(program, [("N", 4)], constraints=[constraint])
        check(model, program, [("N", 4)], constraints=[constraint])


def test_whether_two_sizes_are_equal_is_told_to_be_unknown():
    program = lambda x, y: x.sum() if x.shape == y.shape else x.sum() + y.sum()  # noqa: E731
    with pytest.warns(UserWarning, match=r"the program asks whether N == M.*'N == M'.*'N >= M \+ 1'"):
        to_onnx(program, [("N",), ("M",)])
    for constraint in ("N == M", "N >= M + 1"):
        model = to_onnx(program, [("N",), ("M",)], constraints=[constraint])
        check(model, program, [("N",), ("M",)], constraints=[constraint])


@pytest.mark.parametrize("equal", [["N == M"], ["N == M", "M == 4"], ["N == 2*M"], ["N == M", "N >= 3"], ["M == N"]])
def test_sizes_that_a_constraint_makes_equal_are_checked(equal):
    program, specs = lambda x, y: x.sum() - y.sum(), [("N",), ("M",)]
    check(to_onnx(program, specs, constraints=equal), program, specs, constraints=equal)


SAME_SHAPES = [
    (jnp.array_equal, ["float32[N]", "float32[M]"], [((3,), (3,)), ((3,), (2,)), ((0,), (0,)), ((0,), (1,))]),
    (jnp.array_equal, ["float32[N,3]", "float32[2,M]"], [((2, 3), (2, 3)), ((2, 3), (2, 4)), ((1, 3), (2, 3))]),
    (lambda x: jnp.array_equal(x, jnp.ones(1)), ["float32[N]"], [((1,),), ((2,),), ((0,),)]),
    (lambda x: jnp.array_equal(x, x[:-1]), ["float32[N]"], [((1,),), ((2,),)]),
]


@pytest.mark.parametrize(("function", "specs", "shapes"), SAME_SHAPES)
def test_arrays_of_sizes_that_may_be_equal(function, specs, shapes):
    values = [[np.ones(shape, np.float32) for shape in given] for given in shapes]
    check(to_onnx(function, specs), function, specs, values=values)


def test_what_is_known_of_a_size_is_not_warned_of():
    to_onnx(lambda x: x if x.shape[0] == 0 or x.shape == (-3, 4) or x.shape[0] + 1 == x.shape[0] else -x, [("N", 4)])


# What JAX does with symbolic sizes by itself: answers that depend on the size as if they did not, and errors.
OF_JAX: dict[str, Callable[[jax.Array], object]] = {
    "truth": lambda x: jnp.sin(x) if x.shape[0] % 2 else x,
    "equality": lambda x: jnp.sin(x) if x.shape[0] == 3 else x,
    "packed bits": lambda x: jnp.packbits(x > 0),
    "index": lambda x: jnp.linspace(0, 1, x.shape[0]),
    "search": lambda x: jnp.searchsorted(x, x),
    "slice": lambda x: x[-3:],
    "update": lambda x: x.at[-1].set(0.0),
    "squeeze": lambda x: jnp.squeeze(x[None]),
    "window": lambda x: jnp.hanning(x.shape[0]),
}


def traced_by_jax(function: Callable[[jax.Array], object]) -> str:
    """Return what JAX makes of a function, or its error."""
    argument = jax.ShapeDtypeStruct(jax.export.symbolic_shape("N"), "float32")
    try:
        # A new function, which JAX has not traced yet.
        return str(jax.jit(functools.partial(function)).trace(argument).jaxpr)
    except Exception as error:  # noqa: BLE001 - of JAX, whatever it is
        return f"{type(error).__name__}: {error}"


def test_a_trace_in_another_thread_does_not_meet_what_is_replaced():
    expected = {name: traced_by_jax(function) for name, function in OF_JAX.items()}
    elsewhere: dict[str, str] = {}
    here: dict[str, str] = {}

    def program(x):
        def other():
            elsewhere.update({name: traced_by_jax(function) for name, function in OF_JAX.items()})

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        here.update({name: traced_by_jax(function) for name, function in OF_JAX.items()})
        return x

    to_onnx(program, [("N",)])
    assert elsewhere == expected
    assert [name for name in OF_JAX if here[name] == expected[name]] == []


def test_jax_is_left_as_it_was_and_another_thread_sees_no_difference():
    module = importlib.import_module("jax._src.numpy.lax_numpy")
    before = dict(vars(module))
    during = []
    expected = np.asarray(jnp.convolve(jnp.arange(4.0), jnp.arange(3.0)))

    def program(x):
        def other():
            during.append(np.asarray(jnp.convolve(jnp.arange(4.0), jnp.arange(3.0))))

        assert module._conv is not before["_conv"]
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return jnp.convolve(x, x)

    to_onnx(program, [("N",)])
    np.testing.assert_array_equal(during[0], expected)
    with pytest.raises(errors.TraceError):
        to_onnx(lambda x: x if x.sum() > 0 else -x, [("N",)])
    assert vars(module) == before


PRODUCTS = {
    "first": lambda x: jnp.prod(x, axis=0),
    "last": lambda x: jnp.prod(x, axis=-1, keepdims=True),
    "all": jnp.prod,
    "some": lambda x: jnp.prod(x, axis=0, where=x > 0, initial=2),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("spec", ["float32[N,3]", "float32[N,M]"])
def test_derivatives_of_products(name, spec):
    product = PRODUCTS[name]
    full = np.array([[1, 2, -3], [0.5, 0, 4], [2, 0, 1], [-1, 3, 2]], np.float32)
    shapes = [(4, 3), (1, 3), (0, 3), (2, 3), *([(3, 2), (2, 0)] if "M" in spec else [])]
    tangent = lambda x: jax.jvp(product, (x,), (x * 2,))  # noqa: E731
    gradient = jax.grad(lambda x: jnp.sum(product(x) ** 2))
    for program in (tangent, gradient):
        check(to_onnx(program, [spec]), program, [spec], values=[[full[:rows, :columns]] for rows, columns in shapes])


SEARCHES = {
    "interp": lambda x: jnp.interp(x, POINTS, POINTS**2),
    "periodic": lambda x: jnp.interp(x, POINTS, POINTS**2, period=2.5),
    "searched": lambda x: x * jnp.searchsorted(POINTS, x),
    "digits": lambda x: x * jnp.digitize(x, POINTS),
}


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("spec", ["float32[N]", "float32[N,M]"])
def test_derivatives_beside_a_search(name, spec):
    search = SEARCHES[name]
    tangent = lambda x: jax.jvp(search, (x,), (jnp.ones_like(x),))  # noqa: E731
    gradient = jax.grad(lambda x: jnp.sum(search(x) ** 2))
    for program in (tangent, gradient):
        check(to_onnx(program, [spec]), program, [spec], sizes=[0, 1, 5], kinds=("ordinary",))


PLACES = np.array([0, 4, 5, -1, -6, 12, 100, -100], np.int32)
CYCLES = {
    "take": lambda x, i: jnp.take(x, i, mode="wrap"),
    "take last": lambda x, i: jnp.take(x[None], i, axis=-1, mode="wrap"),
    "take flat": lambda x, i: jnp.take(jnp.stack([x, -x]), i, mode="wrap"),
    "put wrap": lambda x, i: jnp.put(x, i[:, None], x[:2], mode="wrap", inplace=False),
    "put": lambda x, i: jnp.put(x, i, x, inplace=False),
    "place": lambda x, i: jnp.place(x, x > 2, jnp.append(i, 7), inplace=False),
    "resize": lambda x, i: (jnp.resize(x, 7), jnp.resize(x, (2, i.shape[0]))),
}


@pytest.mark.parametrize("sizes", [(5, 8), (1, 8), (5, 0), (0, 0), (7, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("name", CYCLES)
def test_functions_that_go_round_in_an_array(name, sizes):
    function, specs = CYCLES[name], ["float32[N]", "int32[M]"]
    arrays = [np.arange(sizes[0], dtype=np.float32) + 1, PLACES[: sizes[1]]]
    check(to_onnx(function, specs), function, specs, values=[arrays])


IMPORTED = types.ModuleType("a_users_module")
exec("from jax.lax import associative_scan\nfrom jax.numpy import add, digitize", vars(IMPORTED))
HELD = {
    "imported scan": (lambda x: IMPORTED.associative_scan(IMPORTED.add, x), ["float32[N]"]),
    "partial of a scan": (functools.partial(jax.lax.associative_scan, jnp.add), ["float32[N]"]),
    "imported": (lambda x: IMPORTED.digitize(jnp.arange(3.0), x), ["float32[N]"]),
    "itself": (jnp.digitize, ["float32[N]", "float32[M]"]),
}


@pytest.mark.parametrize("name", HELD)
def test_functions_of_jax_that_the_user_holds_are_replaced_too(name, monkeypatch):
    monkeypatch.setitem(sys.modules, IMPORTED.__name__, IMPORTED)
    function, specs = HELD[name]
    before = dict(vars(IMPORTED))
    model = to_onnx(function, specs)
    assert vars(IMPORTED) == before
    check(model, function, specs, sizes=[0, 1, 5])


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("function", [jnp.convolve, jnp.correlate])
def test_infinite_numbers_beside_a_kernel_of_known_size(function, mode):
    def program(x, y):
        return function(x, y, mode=mode)

    rng = np.random.default_rng(0)
    for size in (1, 3, 4):
        specs = [f"float32[{size}]", "float32[N]"]
        values = [[rng.normal(size=n).astype(np.float32) for n in (size, other)] for other in (1, 2, 4, 7, 20)]
        for _, numbers in values[3:]:
            numbers[2], numbers[4] = np.inf, np.nan
        check(to_onnx(program, specs), program, specs, values=values)
