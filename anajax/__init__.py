"""anajax: analog in-memory computing in JAX, differentiable from end to end."""

__version__ = "0.1.0"
