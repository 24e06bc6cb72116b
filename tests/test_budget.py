"""Devices of each layer within a budget, against all choices."""

import itertools

import numpy as np
import pytest

from anajax.programming.search.budget import allocate


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_close_to_the_best_of_all(seed):
    random = np.random.default_rng(seed)
    devices, weights = np.array([2.0, 4.0, 6.0]), random.integers(1, 9, 6)
    errors = random.uniform(1, 5, (6, 1)) / devices * random.uniform(0.9, 1.1, (6, 3))
    budget = 3.7
    choice = allocate(errors, devices, weights, budget=budget)
    rows = np.arange(6)
    assert weights @ devices[choice] <= budget * weights.sum() + 1e-9
    best = min(
        errors[rows, list(other)].sum()
        for other in itertools.product(range(3), repeat=6)
        if weights @ devices[list(other)] <= budget * weights.sum()
    )
    assert best <= errors[rows, choice].sum() <= 1.05 * best


def test_what_helps_nothing_is_not_spent():
    errors = [[3.0, 3.0], [2.0, 1.0]]
    assert allocate(errors, [2, 4], [10, 10], budget=4).tolist() == [0, 1]


def test_a_budget_for_nothing_is_refused():
    with pytest.raises(ValueError, match="`budget` must be at least 2 devices"):
        allocate([[1.0, 2.0]], [2, 4], [10], budget=1)
    with pytest.raises(ValueError, match="`errors` must have shape"):
        allocate([[1.0, 2.0]], [2, 4], [10, 3], budget=3)
