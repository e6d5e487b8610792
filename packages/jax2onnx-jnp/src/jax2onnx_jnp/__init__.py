"""``jax.numpy`` and ``jax.nn`` as whole functions."""
