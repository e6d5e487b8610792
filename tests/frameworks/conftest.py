"""keras reads its backend from the environment, once, when it is imported."""

import os

os.environ["KERAS_BACKEND"] = "jax"
