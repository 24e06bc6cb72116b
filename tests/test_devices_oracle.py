"""Device models against moments sampled by another simulator."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_list import structure
from shared import oracle

from anajax import devices

UNSCALED = 40.0 / 25.0
ORACLE = {
    "PCMLike(g_max=25)": devices.pcm(),
    "Hermes(1dev)": devices.pcm_hermes(devices=1),
    "Hermes(2dev)": devices.pcm_hermes(devices=2),
    "StateIndependent(g_max=25)": devices.state_independent(),
    "ReRamWan2022(g_max=40)": devices.reram_wan(),
    # that simulator forgets to scale the deviations with g_max: undone here
    "ReRamWan2022(default g_max)": devices.scale_noise(
        devices.reram_wan(g_max=25.0), programming=UNSCALED, drift_spread=UNSCALED
    ),
    "ReRamCMO": devices.reram_cmo(),
}


def points():
    try:
        lines = oracle("aihwkit_moments.jsonl").read_text().splitlines()
    except pytest.skip.Exception:
        return []
    return list(map(json.loads, lines))


@jax.jit
def programmed(device, g, key):
    cells = devices.program(device, jnp.full(200_000, g), key=key)
    return cells


@jax.jit
def final(device, cells, t, key):
    aged = devices.age(device, cells, t=t)
    return devices.read(device, aged, t=t, key=key)


def within(sample, mean, sd, n_other):
    """Both are samples: means within 4 standard errors, deviations within 2 %."""
    sample = np.asarray(sample)
    error = sd * math.sqrt(1 / sample.size + 1 / n_other)
    assert abs(sample.mean() - mean) < 4 * error + 1e-7
    assert abs(sample.std() - sd) <= 0.02 * sd


def test_all_points_are_covered():
    oracle("aihwkit_moments.jsonl")
    assert {p["model"] for p in points()} == set(ORACLE)


@pytest.mark.parametrize(
    "point", points(), ids=lambda p: f"{p['model']}-{p['g_target_uS']}"
)
def test_moments_published_by_another_simulator(point, key):
    device = structure(ORACLE[point["model"]])
    cells = programmed(device, point["g_target_uS"], key)
    for t, moments in point["g_final"].items():
        g = final(device, cells, float(t), key)
        within(g, moments["mean"], moments["std"], point["n"])
    floored = np.maximum(cells.programmed, 0)
    within(floored, *point["g_prog"].values(), point["n"])
    if isinstance(device.drift, devices.PowerLawDrift):
        within(cells.state, *point["nu"].values(), point["n"])
