"""The target ``onnxruntime-genai`` of ``to_onnx``: its operators where they are proven, without ``save_genai``."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.errors import InputSpecError

HEADS, SHARED, DEPTH, WORDS = 4, 2, 8, 19


def step(tokens, keys, values, hides=True):  # noqa: FBT002 - the test of one that does not hide
    """Return logits and the lengthened cache: keys and values of (batch, heads, positions, depth)."""
    draw = np.random.default_rng(0)
    weight = lambda *shape: jnp.asarray(draw.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)  # noqa: E731
    x = weight(WORDS, 24)[tokens] * 4
    q, k, v = ((x @ weight(24, n * DEPTH)).reshape(*tokens.shape, n, DEPTH) for n in (HEADS, SHARED, SHARED))
    keys, values = (jnp.concatenate([past, jnp.swapaxes(new, 1, 2)], 2) for past, new in ((keys, k), (values, v)))
    slots = jnp.arange(keys.shape[2])[None]
    own = (jnp.arange(tokens.shape[1]) + (keys.shape[2] - tokens.shape[1]))[:, None]
    out = jax.nn.dot_product_attention(
        q, jnp.swapaxes(keys, 1, 2), jnp.swapaxes(values, 1, 2), mask=(slots <= own)[None, None] if hides else None
    )
    return out.reshape(*tokens.shape, -1) @ weight(HEADS * DEPTH, WORDS), keys, values


def reversed_cache(tokens, keys, values):
    return step(tokens, keys, jnp.flip(values, 2))


SPECS = ["int32[1,T]", f"float32[1,{SHARED},P,{DEPTH}]", f"float32[1,{SHARED},P,{DEPTH}]"]
TARGET = "onnxruntime-genai"


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("target", [TARGET, f"{TARGET}>=0.10", f"{TARGET}==0.18.0"])
def test_a_step_gets_the_operator(target):
    model = to_onnx(step, SPECS, target=target)
    assert operators(model).count("GroupQueryAttention") == 1
    assert check(model, step, SPECS)


@pytest.mark.parametrize("opset", [18, 21, 24])
def test_at_other_opsets(opset):
    model = to_onnx(step, SPECS, target=TARGET, opset=opset)
    assert operators(model).count("GroupQueryAttention") == 1
    assert check(model, step, SPECS)


KNOWN = {"1, 1": 1, "1, 4": 1, "B, 1": 1, "3, 1": 1, "B, T": 0, "2, T": 0, "B, 4": 0}
"""Batch and tokens: whether the operator takes all calls of these sizes."""


@pytest.mark.parametrize("sizes", KNOWN)
def test_sizes_that_are_known(sizes):
    batch, _ = sizes.split(", ")
    specs = [f"int32[{sizes}]", *(spec.replace("[1", f"[{batch}") for spec in SPECS[1:])]
    model = to_onnx(step, specs, target=TARGET)
    assert operators(model).count("GroupQueryAttention") == KNOWN[sizes]
    assert check(model, step, specs)


@pytest.mark.parametrize("tokens", ["1", "T"])
def test_one_token_sees_all_without_a_mask(tokens):
    specs, seeing = (
        [f"int32[B,{tokens}]", *(spec.replace("[1", "[B") for spec in SPECS[1:])],
        partial(step, hides=False),
    )
    model = to_onnx(seeing, specs, target=TARGET)
    assert operators(model).count("GroupQueryAttention") == (tokens == "1")
    assert check(model, seeing, specs)


@pytest.mark.parametrize("target", ["onnxruntime", "onnx", "web"])
def test_other_targets_get_no_contrib_operators(target):
    assert {node.domain for node in to_onnx(step, SPECS, target=target).graph.node} == {""}


def test_what_is_not_proven_stays():
    model = to_onnx(reversed_cache, SPECS, target=TARGET)
    assert "GroupQueryAttention" not in operators(model)
    assert check(model, reversed_cache, SPECS)


def test_models_that_are_no_decoders():
    model = to_onnx(jnp.tanh, ["float32[B,4]"], target=TARGET)
    assert operators(model) == ["Tanh"]
    assert check(model, jnp.tanh, ["float32[B,4]"])


def genai_step(input_ids, attention_mask, past):
    """Return the outputs of onnxruntime-genai for its inputs, of one text."""
    del attention_mask
    logits, *new = step(input_ids, *past)
    return logits, new


def test_onnxruntime_genai_makes_the_tokens_of_jax(tmp_path):
    og = pytest.importorskip("onnxruntime_genai")
    cache = [jax.ShapeDtypeStruct((1, SHARED, n, DEPTH), jnp.float32) for n in (0, 0)]
    names = ["0.key", "0.value"]
    save_onnx(
        genai_step,
        ["int32[1,T]", "int32[1,P+T]", [("1", SHARED, "P", DEPTH)] * 2],
        tmp_path / "model.onnx",
        input_names=["input_ids", "attention_mask", *(f"past_key_values.{name}" for name in names)],
        output_names=["logits", *(f"present.{name}" for name in names)],
        target=TARGET,
    )
    model = onnx.load(tmp_path / "model.onnx")
    assert operators(model).count("GroupQueryAttention") == 1
    for shared in (False, True):
        (tmp_path / "genai_config.json").write_text(json.dumps(config(shared=shared)))
        params = og.GeneratorParams(loaded := og.Model(str(tmp_path)))
        params.set_search_options(do_sample=False, max_length=20)
        generator = og.Generator(loaded, params)
        generator.append_tokens(np.asarray([[3, 1, 4]], np.int32))
        made = []
        while not generator.is_done():
            generator.generate_next_token()
            made.append(int(generator.get_next_tokens()[0]))
        tokens, arrays = jnp.asarray([[3, 1, 4]]), [jnp.zeros(one.shape) for one in cache]
        wanted = []
        for _ in range(17):
            logits, *arrays = step(tokens, *arrays)
            wanted.append(int(logits[0, -1].argmax()))
            tokens = jnp.asarray([wanted[-1:]])
        assert made == wanted[: len(made)]
        assert len(made) > 9
        assert len(set(made)) > 2


def config(*, shared):
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": DEPTH,
        "hidden_size": 24,
        "num_attention_heads": HEADS,
        "num_hidden_layers": 1,
        "num_key_value_heads": SHARED,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    return {
        "model": {
            "bos_token_id": 0,
            "context_length": 32,
            "decoder": decoder,
            "eos_token_id": WORDS - 1,
            "pad_token_id": 0,
            "type": "llama",
            "vocab_size": WORDS,
        },
        "search": {"do_sample": False, "max_length": 32, "min_length": 0, "past_present_share_buffer": shared},
    }


def test_on_the_command_line(tmp_path):
    (tmp_path / "decoder.py").write_text(Path(__file__).read_text())
    given = ["decoder:step", *(f"--input={spec}" for spec in SPECS), "-o", "model.onnx", "--target", TARGET]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=True)
    run([sys.executable, "-m", "jax2onnx", "export", *given])
    assert operators(onnx.load(tmp_path / "model.onnx")).count("GroupQueryAttention") == 1
    told = run([sys.executable, "-m", "jax2onnx", "inspect", "model.onnx", "--targets", TARGET, "--json"])
    (found,) = json.loads(told.stdout)
    assert found["loads"], found


def test_versions_that_are_too_old():
    with pytest.raises(InputSpecError, match=r"older than onnxruntime-genai 0\.10"):
        to_onnx(step, SPECS, target=f"{TARGET}<0.9,>=0.5")
