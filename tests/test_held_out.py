"""Learning that does not harm: rates and what is kept, by inputs that are held out."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_study

from anajax import devices, training
from anajax.mapping.hand import lsp_first
from anajax.programming import optimize_targets
from anajax.programming.end_to_end import held_out
from anajax.studies import run

WAYS = [
    "lsp_first",
    {"name": "optimized", "label": "aware", "trained": True},
    {"name": "targets", "start": ["lsp_first", "aware"],
     "learn": {"steps": 14, "batch": 8, "weight_rate": "auto", "never_worse": True}},
]  # fmt: skip


class Bowl:
    """Steps down (or up) a bowl whose bottom is 1, counted."""

    def __init__(self, sign=1.0):
        self.sign, self.taken, self.rates = sign, 0, []

    def step(self, carry, i, rate, share):
        (x,) = carry
        self.taken += 1
        self.rates.append(float(rate))
        slope = 2 * (x - 1) * 300  # 1e-2 diverges, 1e-5 crawls
        return (x - self.sign * rate * share * slope,), (x - 1) ** 2

    def learn(self, **how):
        begin = (jnp.asarray(0.0),)
        return held_out.learn(begin, self.step, lambda x: (x - 1) ** 2, **how)


def test_a_rate_is_found_within_the_same_number_of_steps():
    bowl = Bowl()
    found, losses, rate = bowl.learn(steps=60, rate=None, never_worse=True)
    assert bowl.taken == 60 and losses.shape == (30,)
    assert rate in (1e-3, pytest.approx(1e-3 / 3), pytest.approx(3e-3))
    assert abs(found - 1) < 1e-2 and set(bowl.rates[30:]) == {rate}
    least = min(bowl.rates[:20], key=lambda r: abs(np.log(r / rate)))
    assert least == pytest.approx(1e-3)  # of the four decades


def test_what_is_no_better_is_not_kept():
    worse, _, _ = Bowl(sign=-1.0).learn(steps=8, rate=1e-3, never_worse=True)
    assert worse == 0
    last, _, _ = Bowl(sign=-1.0).learn(steps=8, rate=1e-3, never_worse=False)
    assert last < -0.1


class Stopped(Exception):
    """In the middle."""


class Kept:
    """A checkpoint in memory, which stops once after some steps."""

    def __init__(self, stop):
        self.last, self.stop = None, stop

    def restore(self, like):
        return self.last or (0, like)

    def save(self, step, state):
        self.last = step, state
        if step == self.stop:
            self.stop = None
            raise Stopped


def test_it_goes_on_bit_for_bit():
    how = {"steps": 60, "rate": None, "never_worse": True}
    whole, losses, rate = Bowl().learn(**how)
    kept = Kept(stop=17)
    with pytest.raises(Stopped):
        Bowl().learn(checkpoint=kept, **how)
    bowl = Bowl()
    again, same, found = bowl.learn(checkpoint=kept, **how)
    assert bowl.taken == 13 and (again, found) == (whole, rate)
    np.testing.assert_array_equal(same, losses)


@pytest.mark.slow
def test_targets_and_training_that_diverge_end_where_they_began(key):
    params = {"kernel": jr.normal(key, (6, 4))}
    x, device = jr.normal(key, (16, 6)), devices.pcm()
    held, strategy = (x[:8], None), lsp_first(device)

    def apply(params, x):
        return x @ params["kernel"]

    found = optimize_targets(
        apply, params, device, strategy, x[8:], [1e6], key=key, learn=["weights"],
        weight_rate=30.0, never_worse=True, held=held, steps=4, batch=4, chips=1,
    )  # fmt: skip
    begin = optimize_targets(
        apply, params, device, strategy, x[8:], [1e6], key=key, learn=["drift"],
        learning_rate=1e-9, steps=1, batch=4, chips=1,
    )  # fmt: skip
    np.testing.assert_array_equal(
        found.layers["kernel"].targets, begin.layers["kernel"].targets
    )
    options = training.TrainOptions(
        steps=4, chips=1, batch=4, rate=30.0, never_worse=True
    )
    noise = training.device_noise(device, strategy, [1e6])
    train = training.trainer(apply, params, x[8:], noise, options, held=held)
    np.testing.assert_array_equal(train(key)["kernel"], params["kernel"])
    with pytest.raises(ValueError, match='`held` must be given for the rate "auto"'):
        training.trainer(apply, params, x, noise, training.TrainOptions(rate="auto"))


@pytest.mark.slow
def test_studies_choose_rates_and_where_to_start(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    how = {"steps": 14, "batch": 8, "rate": "auto", "never_worse": True}
    asked = {"strategies": WAYS, "training": how}
    data = run.run(tiny_study.prepared(tmp_path / "a", **asked))
    assert np.all(np.isfinite(data.accuracy))
    assert data.recommended.item() in ("lsp_first", "aware")
    (tmp_path / "a/parts/state_independent-targets.npz").unlink()
    again = run.run(tiny_study.prepared(tmp_path / "a", resume=True, **asked))
    for name in ("accuracy", "validation_loss"):
        np.testing.assert_array_equal(again[name], data[name])
