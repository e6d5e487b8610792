"""Exporting leaves the process as it was, whatever other threads do meanwhile."""

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_framework import Layer, Linear

from jax2onnx import to_onnx
from jax2onnx.errors import TraceError

MODULES = (jax, jax.numpy, jax.lax, jax.nn)


def attributes() -> dict[tuple[str, str], object]:
    return {(module.__name__, name): value for module in MODULES for name, value in vars(module).items()}


class Block(Layer):
    def __init__(self) -> None:
        self.query = Linear(8, 8, 1)
        self.key = Linear(8, 8, 2)
        self.value = Linear(8, 8, 3)

    def __call__(self, x):
        x = jax.nn.standardize(x)
        scores = jnp.einsum("bqf,bkf->bqk", self.query(x), self.key(x))
        return x + jax.nn.gelu(jax.nn.softmax(scores) @ self.value(x))


def function(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 3, lambda _, v: jnp.sin(v) @ jnp.ones((4, 4)), jax.nn.softmax(x))


@jax.jit
def step(x: jax.Array) -> jax.Array:
    return jnp.tanh(x * 1.5 + 1)


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("error")
def test_three_threads_export_while_a_fourth_runs() -> None:
    before = attributes()
    config = jax.config.values.copy()
    expected = np.asarray(step(jnp.ones((8, 8))))
    done = threading.Event()
    failures: list[BaseException] = []
    models: dict[str, list[bytes]] = {"module": [], "function": [], "jitted": []}
    runs = 0

    def export(name: str, make: Callable[[], object], shape: tuple[object, ...]) -> None:
        try:
            models[name].extend(to_onnx(make(), [shape]).SerializeToString() for _ in range(3))
        except BaseException as error:  # noqa: BLE001 - the main thread reports it
            failures.append(error)

    def run() -> None:
        nonlocal runs
        try:
            while not done.is_set():
                np.testing.assert_array_equal(step(jnp.ones((8, 8))), expected)
                # New shapes make JAX trace and compile while the others export.
                jax.jit(function)(jnp.ones((runs % 5 + 1, 4))).block_until_ready()
                runs += 1
        except BaseException as error:  # noqa: BLE001 - the main thread reports it
            failures.append(error)

    block = Block()
    exporters = [
        threading.Thread(target=export, args=("module", lambda: block, ("B", 5, 8))),
        threading.Thread(target=export, args=("function", lambda: function, ("B", 4))),
        threading.Thread(target=export, args=("jitted", lambda: step, ("B", 4))),
    ]
    runner = threading.Thread(target=run)
    for thread in (*exporters, runner):
        thread.start()
    for thread in exporters:
        thread.join()
    done.set()
    runner.join()
    assert not failures
    assert runs > 0
    assert all(len(m) == 3 and len(set(m)) == 1 for m in models.values())
    after = attributes()
    assert before.keys() <= after.keys()
    assert [key for key, value in before.items() if after[key] is not value] == []
    assert config == jax.config.values
    np.testing.assert_array_equal(step(jnp.ones((8, 8))), expected)


def test_exports_in_threads_are_those_of_one_thread_errors_too() -> None:
    def refused(x: jax.Array) -> jax.Array:
        return x if x.sum() > 0 else -x

    calls: list[tuple[Callable[..., object], object, int]] = [
        (lambda x: jax.nn.gelu(x) @ x.T, ("B", 4), 18),
        (lambda x: jnp.searchsorted(x, 2.0), ("B",), 23),
        (refused, (3,), 23),
        (lambda x: jax.lax.scan(lambda c, y: (c + y, c * y), jnp.zeros(3), x), ("T", 3), 21),
        (lambda x: x.reshape(-1, 2), ("B",), 23),
    ]

    def export(number: int) -> object:
        function, spec, opset = calls[number % len(calls)]
        try:
            return to_onnx(function, [spec], opset=opset).SerializeToString()
        except TraceError as error:
            return str(error)

    config = jax.config.values.copy()
    expected = list(map(export, range(len(calls))))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(export, range(4 * len(calls))))
    assert found == expected * 4
    assert [isinstance(result, str) for result in expected] == [False, False, True, False, True]
    assert config == jax.config.values


def test_collector_thresholds_come_back() -> None:
    def fails(x: jax.Array) -> jax.Array:
        seen.append(gc.get_threshold()[0])
        raise ArithmeticError

    seen: list[int] = []
    before = gc.get_threshold()
    with pytest.raises(TraceError, match="ArithmeticError"):
        to_onnx(fails, [(3,)])
    assert gc.get_threshold() == before
    assert seen[0] > before[0]
    gc.set_threshold(0)
    try:
        with pytest.raises(TraceError, match="ArithmeticError"):
            to_onnx(fails, [(3,)])
        assert seen[-1] == gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
