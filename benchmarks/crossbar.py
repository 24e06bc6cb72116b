"""Products through the periphery, against a plain product in the same run.

Usage: python benchmarks/crossbar.py [--rounds 30]

Batch 128 through 1024 x 1024, float32, jitted. Prints milliseconds (median, fastest),
the median of the ratios to the plain product of the same round, and the temporaries
that XLA plans. Writes benchmarks/results/crossbar.csv.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from timing import in_turn, machine, temporary_mb, write_csv

from anajax.crossbar import periphery as pp
from anajax.crossbar import product as cb
from anajax.crossbar.converters import uniform


def cases():
    """Name -> (function, arguments); the plain product first."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(128, 1024)), jnp.float32)
    w = jnp.asarray(random.normal(size=(1024, 1024)) / 30, jnp.float32)
    key = jax.random.key(0)
    mvm = jax.jit(lambda t, x, io, key: cb.mvm(t, x, io, key=key))
    whole, parts = (
        cb.from_weights(w),
        cb.from_weights(w, cb.TileRule(rows=512, columns=512)),
    )
    noisy = cb.from_weights(w, variance=w**2)
    eight = pp.IO(scaling=pp.AbsMax(), dac=uniform(8, 1.0), adc=uniform(8, 12.0))
    serial = pp.IO(
        scaling=pp.AbsMax(),
        dac=uniform(8, 1.0),
        adc=uniform(8, 12.0),
        slicing=pp.BitSlices(bits=2),
    )
    again = pp.IO(
        scaling=pp.AbsMax(),
        dac=uniform(8, 1.0),
        adc=uniform(8, 1.0),
        bounds=pp.BoundManagement(),
    )

    def built(w, x, key):
        rule = cb.TileRule(rows=512)
        return cb.mvm(cb.from_weights(w, rule, normalize="column"), x, eight, key=key)

    def plain(w, x):
        return x @ w

    def step(product):
        return jax.jit(jax.grad(lambda w, *a: jnp.sum(product(w, *a) ** 2)))

    return {
        "plain product": (jax.jit(plain), (w, x)),
        "ideal periphery": (mvm, (whole, x, pp.ideal(), key)),
        "8-bit DAC and ADC": (mvm, (whole, x, eight, key)),
        "8-bit, tiles of 512 x 512": (mvm, (parts, x, eight, key)),
        "8-bit, tiles built in the call": (jax.jit(built), (w, x, key)),
        "standard preset (output noise)": (mvm, (whole, x, pp.standard(), key)),
        "fresh read noise per vector": (mvm, (noisy, x, pp.ideal(), key)),
        "training preset, tiles of 512": (mvm, (parts, x, pp.training(), key)),
        "8-bit, slices of 2 bits": (mvm, (whole, x, serial, key)),
        "8-bit, re-reads": (mvm, (whole, x, again, key)),
        "plain gradient": (step(plain), (w, x)),
        "8-bit gradient, built in the call": (step(built), (w, x, key)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(machine())
    lines = cases()
    times, rows = in_turn(lines, rounds), []
    for name, t in times.items():
        floor = "plain gradient" if "gradient" in name else "plain product"
        function, arguments = lines[name]
        rows.append(
            {
                "case": name,
                "median_ms": f"{np.median(t):.3f}",
                "fastest_ms": f"{t.min():.3f}",
                "ratio_to_plain": f"{np.median(t / times[floor]):.2f}",
                "temporary_mb": f"{temporary_mb(function, *arguments):.1f}",
            }
        )
        print("{case:36}{median_ms:>9}{fastest_ms:>9}".format(**rows[-1]), end="")
        print("{ratio_to_plain:>7}x{temporary_mb:>8} MB".format(**rows[-1]))
    write_csv("crossbar.csv", rows)


if __name__ == "__main__":
    main()
