"""Export every registered example under every setting of JAX, and compare the models with those of the plain setting.

python scripts/configurations.py                       every case of every example under every setting (hours)
python scripts/configurations.py --every 20            each 20th case
python scripts/configurations.py --only jax_scan3      some settings
python scripts/configurations.py --write               docs/coverage/configurations.md too

A program that JAX itself refuses to trace under a setting, as strict promotion does, is counted as ``refused by JAX``.
Where a setting changes the program that JAX traces, the model may differ: it is then compared with JAX in onnxruntime.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import numpy as np
import onnx

from jax2onnx import check, to_onnx
from jax2onnx.testing import Case, cases, x64

TABLE = Path(__file__).parent.parent / "docs" / "coverage" / "configurations.md"

OUTCOMES = ("equal", "differs, agrees", "refused by JAX", "FAILED")

HEAD = """# Settings of JAX

{cases} cases of the registered examples, each of {every}, are exported under every setting of JAX that may change
what is traced or what raises. Written by `scripts/configurations.py --write --every {every}` with jax {jax}.

- `equal`: the model is, byte for byte, that of the plain setting.
- `differs, agrees`: the setting changes the program that JAX traces; the model agrees with JAX under this setting.
- `refused by JAX`: JAX itself does not trace the program under the setting.
- `FAILED`: anything else.
"""

SETTINGS: dict[str, tuple[Any, ...]] = {
    "jax_numpy_rank_promotion": ("raise", "warn"),
    "jax_numpy_dtype_promotion": ("strict",),
    "jax_debug_nans": (True,),
    "jax_debug_infs": (True,),
    "jax_debug_key_reuse": (True,),
    "jax_check_tracer_leaks": (True,),
    "jax_check_static_indices": (True,),
    "jax_enable_checks": (True,),
    "jax_disable_jit": (True,),
    "jax_disable_most_optimizations": (True,),
    "jax_no_tracing": (True,),
    "jax_legacy_prng_key": ("error",),
    "jax_enable_custom_prng": (True,),
    "jax_default_prng_impl": ("rbg", "unsafe_rbg"),
    "jax_threefry_partitionable": (False,),
    "jax_random_seed_offset": (7,),
    "jax_high_dynamic_range_gumbel": (True,),
    "jax_default_matmul_precision": ("highest", "F32_F32_F32"),
    "jax_softmax_custom_jvp": (True, False),
    "jax_use_direct_linearize": (False,),
    "jax_use_simplified_jaxpr_constants": (True,),
    "jax_embedded_constants_max_bytes": (0,),
    "eager_constant_folding": (True,),
    "jax_accurate_erf_inv": (True,),
    "jax_allow_f16_reductions": (False,),
    "jax_custom_jvp3": (True,),
    "jax_custom_vjp3": (True,),
    "jax_scan3": (True,),
    "jax_remat3": (True,),
    "jax_explicit_x64_dtypes": ("allow", "error"),
    "jax_default_dtype_bits": ("32",),
    "jax_default_device": ("cpu:1",),
    "jax_transfer_guard": ("disallow",),
    "jax_mutable_array_checks": (False,),
    "jax_error_checking_behavior_nan": ("raise",),
    "jax_error_checking_behavior_divide": ("raise",),
    "jax_error_checking_behavior_oob": ("raise",),
    "jax_traceback_filtering": ("off",),
    "jax_traceback_in_locations_limit": (0,),
    "jax_remove_size_one_mesh_axis_from_type": (True,),
    "jax_pprint_use_color": (True,),
}
"""The settings of JAX that may change what is traced, what is computed or what raises, each with other values."""

OUTSIDE: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "numpy.errstate(all='raise')": lambda: np.errstate(all="raise"),
    "jax.set_mesh": lambda: jax.set_mesh(jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))),
    "jax.named_scope": lambda: jax.named_scope("outer"),
}
"""What else a user may have set when an export begins."""


@contextlib.contextmanager
def setting(name: str, value: Any) -> Iterator[None]:
    """Change one setting of JAX."""
    if name == "jax_default_device":
        value = jax.devices()[int(value.rpartition(":")[2])]
    if name == "jax_transfer_guard":  # its own update changes the three guards for good
        with jax.transfer_guard(value):
            yield
        return
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def settings() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Return the settings that the installed jax has, by what the table calls them."""
    found: dict[str, Callable[[], AbstractContextManager[Any]]] = {}
    for name, values in SETTINGS.items():
        for value in values:
            if name in jax.config.values:
                found[f"{name}={value!r}"] = lambda name=name, value=value: setting(name, value)
    return found | OUTSIDE


def export(case: Case, fn: Any) -> bytes:
    """Return the model of a case."""
    model = to_onnx(fn, case.inputs, fusions=case.fusions, **case.options)
    return model.SerializeToString(deterministic=True)


def is_in_program(error: BaseException) -> bool:
    """Return whether an error was raised while JAX traced the user's program."""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_name == "flat" and code.co_filename.endswith("trace.py"):
            return True
        traceback = traceback.tb_next
    return error.__cause__ is not None and is_in_program(error.__cause__)


def outcome(case: Case, fn: Any, plain: bytes, *, checked: bool) -> str:
    """Export a case under the setting that holds, and return what came of it."""
    try:
        content = export(case, fn)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the table has to tell
        if is_in_program(error):
            return "refused by JAX"
        return f"FAILED: {type(error).__name__}: {str(error).splitlines()[0][:150]}"
    if content == plain and not checked:
        return "equal"
    example = case.example
    model = onnx.load_from_string(content)
    rounds = [example.values()] if example.values is not None and not (case.dynamic and example.draw) else []
    if example.draw:
        rounds.append(None)
    try:
        for values in rounds:
            check(model, fn, case.inputs, values=values, rtol=example.rtol, atol=example.atol)
    except Exception as error:  # noqa: BLE001 - as above
        if content == plain:
            return f"FAILED check: {type(error).__name__}: {' '.join(str(error).split())[:250]}"
        return f"FAILED differs: {type(error).__name__}: {' '.join(str(error).split())[:250]}"
    return "equal, checked" if content == plain else "differs, agrees"


def write(counts: dict[str, Counter[str]], every: int) -> None:
    """Write the table."""
    cases_run = max(sum(results.values()) for results in counts.values())
    lines = [
        HEAD.format(cases=cases_run, every=every, jax=jax.__version__),
        "| Setting | " + " | ".join(OUTCOMES) + " |",
        "|---" * (len(OUTCOMES) + 1) + "|",
    ]
    for name, results in counts.items():
        cells = [str(results[outcome] or "") for outcome in OUTCOMES]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    TABLE.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Export the examples as the arguments say, and print what fails and how often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--filter", default="")
    parser.add_argument("--check", action="store_true", help="check the equal models too, under the setting")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    chosen = [case for case in cases() if args.filter in str(case)][args.start :: args.every]
    made: list[tuple[Case, Any, bytes]] = []
    for case in chosen:
        with x64(enabled=case.example.x64):
            fn = case.example.make()
            made.append((case, fn, export(case, fn)))
    for name, enter in settings().items():
        if args.only and not name.startswith(tuple(args.only)):
            continue
        for case, fn, plain in made:
            with x64(enabled=case.example.x64), enter():
                told = outcome(case, fn, plain, checked=args.check)
            counts[name][told.partition(":")[0].partition(" check")[0]] += 1
            if not told.startswith(("equal", "refused")):
                print(f"{name}  {case}  {told}", flush=True)
        print(name, dict(counts[name]), flush=True)
    if args.write:
        write(counts, args.every)


if __name__ == "__main__":
    main()
