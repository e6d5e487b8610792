"""Report: records summed up, each place once, the nearest miss first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from programs import array, flat

from jax2onnx.fusion.records import Declined, Found, NearMiss
from jax2onnx.fusion.report import Finding, Miss, report
from jax2onnx.program.program import Eqn, Fused


def equations(count: int) -> list[Eqn]:
    def function(x: Any) -> Any:
        for _ in range(count):
            x = jnp.sin(x)
        return x

    eqns = flat(function, array(3)).eqns
    for eqn in eqns:
        eqn.source = None
    return eqns


def gelu(*interior: Eqn, **kwargs: Any) -> Fused:
    return Fused(SimpleNamespace(name="gelu", plugin="p", emit={}), kwargs, interior, ())


def test_equal_entries_are_counted() -> None:
    first, second = (Found(gelu(eqn, approximate=True), 8) for eqn in equations(2))
    summed = report([first, second])
    assert summed.found == (Finding("gelu(approximate=True)", None, 8, times=2),)
    assert str(summed) == "Functions found: 2\n  gelu(approximate=True): 8 equations, 2 times\nNearly found: none"


def test_a_place_has_its_nearest_miss_only() -> None:
    a, b = equations(2)
    misses = [
        NearMiss("elu", {}, "far", a, matched=1),
        NearMiss("celu", {}, "near", a, matched=3),
        NearMiss("selu", {}, "as near", a, matched=3),
        NearMiss("gelu", {}, "nearer", b, matched=5),
        NearMiss("silu", {}, "no equation is equal", b, matched=0),
    ]
    assert report(misses).missed == (Miss("gelu", None, "nearer"), Miss("celu", None, "near"))


def test_a_function_that_was_found_hides_all_but_complete_misses() -> None:
    a, b = equations(2)
    misses = [
        NearMiss("elu", {}, "of the anchor", b, matched=3),
        NearMiss("celu", {}, "of an equation inside", a, matched=3),
        NearMiss("selu", {}, "newer", b, matched=2, complete=True),
    ]
    summed = report([*misses, Found(gelu(a, b), 2)])
    assert summed.missed == (Miss("selu", None, "newer"),)


def test_a_declined_function_is_a_miss() -> None:
    a, b = equations(2)
    fused = gelu(a, b)
    summed = report([Found(fused, 2), NearMiss("elu", {}, "near", b, matched=1), Declined(fused, "not here")])
    assert summed.found == ()
    assert summed.missed == (Miss("gelu", None, "declined: not here"), Miss("elu", None, "near"))


def test_long_settings_are_shortened() -> None:
    (eqn,) = equations(1)
    (entry,) = report([Found(gelu(eqn, axes=tuple(range(100))), 1)]).found
    assert entry.name.startswith("gelu(axes=(0, 1, 2")
    assert entry.name.endswith("…)")
    assert str(entry).endswith(": 1 equation")
