"""The same function for many items, on all cores of a CPU."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax

A = TypeVar("A")
B = TypeVar("B")


def each(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`function` of each item, in order; the first call compiles for all.

    Threads run compiled jax functions at the same time, whereas one function made of
    small operations keeps only one core busy.

    Args:
        function: must only wait for its own computations.
        items: items of one shape.
    """
    first, *others = list(items) or [None]
    if first is None:
        return []
    config: Any = jax.config  # a thread has its own
    precision, wide = config.jax_default_matmul_precision, config.jax_enable_x64

    def there(item: A) -> B:
        with jax.default_matmul_precision(precision), jax.enable_x64(wide):
            return jax.block_until_ready(function(item))

    begun = jax.block_until_ready(function(first))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [begun, *threads.map(there, others)]
