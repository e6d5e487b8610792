"""Find whole functions of ``jax.numpy`` and ``jax.nn`` in programs, and emit them as operators."""
