"""Run a model in LiteRT: python litert.py MODEL.tflite CASE.npz, where the case has the input x; prints the outputs."""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
(wanted,) = interpreter.get_input_details()
x = np.load(sys.argv[2])["x"]
assert tuple(wanted["shape"]) == x.shape, f"the model wants {wanted['shape']}"
interpreter.set_tensor(wanted["index"], x)
interpreter.invoke()
print(json.dumps([interpreter.get_tensor(one["index"]).tolist() for one in interpreter.get_output_details()]))
