"""Weights kept digital: how many, which, and what their columns gain."""

import numpy as np
import pytest

from anajax.mapping.layout import Layout
from anajax.mapping.outliers import outliers

RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(64, 50)).astype("f4")
ROWS = Layout(rows=(0,), columns=(1,), tile_rows=16)


def test_the_largest_of_a_column_goes_first():
    w = W.copy()
    w[17, 3], w[40, 9] = 30.0, -40.0
    gone = outliers(w, ROWS, share=0.01)
    assert gone[17, 3] and gone[40, 9]
    assert 0 < gone.sum() <= 0.01 * w.size


def test_scales_shrink_more_than_without_the_largest_of_all():
    gone = outliers(W, ROWS, share=0.02)
    flat = np.sort(np.abs(W).ravel())[-gone.sum()]
    plain = np.abs(W) >= flat

    def square(mask):
        return np.mean(np.max(np.abs(W * ~mask).reshape(4, 16, 50), 1) ** 2)

    assert square(gone) < 0.99 * square(plain) < square(np.zeros_like(plain))


def test_rows_that_count_more_go_first():
    importance = np.where(np.arange(64) < 16, 100.0, 1.0)[None]
    gone = outliers(W, ROWS, share=0.01, importance=importance)
    assert gone[:16].all(1).sum() == 0 and gone[:16].sum() == gone.sum()


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"`share` must lie in \[0, 1\)"):
        outliers(W, ROWS, share=1.0)
    assert not outliers(W, ROWS, share=0.0).any()
