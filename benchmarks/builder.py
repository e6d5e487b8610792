"""Build a llama by onnxruntime-genai's own builder, in float32 and in 4 bits: ``builder.py WEIGHTS FOLDER``.

It needs onnxruntime-genai, torch, transformers and safetensors, and no jax. ``WEIGHTS`` is an npz file with arrays
named as in ``transformers`` and one named ``config``, a JSON text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel


def main() -> None:
    """Write a checkpoint, and build both models of it."""
    weights, folder = map(Path, sys.argv[1:])
    with np.load(weights) as stored:
        arrays = {name: np.ascontiguousarray(stored[name]) for name in stored.files if name != "config"}
        config = json.loads(str(stored["config"]))
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps(config))
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{n}": n for n in range(3, config["vocab_size"])}
    Tokenizer(WordLevel(words, "<unk>")).save(str(checkpoint / "tokenizer.json"))
    of = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(of))
    save_file(arrays, checkpoint / "model.safetensors", metadata={"format": "pt"})
    for precision in ("fp32", "int4"):
        places = ("-i", str(checkpoint), "-o", str(folder / precision), "-c", str(folder / "cache"))
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", *places, "-p", precision, "-e", "cpu"]
        # All files are here: without this it asks for others, and waits for answers.
        subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


if __name__ == "__main__":
    main()
