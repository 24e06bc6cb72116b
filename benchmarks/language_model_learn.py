"""Learning for a language model on chips, within minutes on a GPU.

Run by `language_model.py learn`. Chips are drawn device by device; what is learned is
learned by distillation to the digital network on text of the validation split, at one
month with fresh noise (each weight a normal of its exact mean and variance), and is
looked at on the test split and on chips that no learning has seen:

- weights: all kernels and the gains of norms, the same for all chips, with gradients
  through tables and scales, or straight past them;
- digital: gains of norms, a scale and bias of each column, and a rank-8 adapter beside
  each kernel, the same for all chips; the kernels stay;
- measured on each chip: no learning; adapters y + (x A) B with the first eight
  principal directions A of the inputs, the same for all chips, and B what a chip lacks
  in these directions, in the mean of four of its read-outs at a month;
- learned on each chip: from there, all digital parameters, by distillation through
  these four read-outs.

What is each chip's own is looked at in another read-out of the chip.

Rows are written as they come, to language_model_learn.csv in the folder of `--out`:
gaps in nats for each token above the digital network, on the first 8 windows and on
all; `digital_gap` is that of the learned parameters without a chip. Trained without
noise by the same loss, the digital network stays as it is: the loss is zero there.
"""

import functools
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine, write_csv

import anajax
from anajax import chip
from anajax._core.tree import replace
from anajax.analysis.expected import ExpectedError, uniform
from anajax.mapping.strategy import pairs
from anajax.mapping.weight_error import moment_table
from anajax.mapping.weight_table import weight_table
from anajax.training import (
    TrainOptions,
    distillation,
    measured_adapters,
    principal_directions,
    table_noise,
    trainer,
)
from anajax.workloads.language.llama import ADAPTERS, KERNELS, stacked, unstacked

HAND = {"pcm": 2.0, "pcm_hermes": 4.0}
FIRST, HELD, PAIRS, NOTHING = 8, 8, 6, 1e-9
SECONDS = {"weights": 35.0, "digital": 15.0, "each chip": 2.0}
RATES = {"weights": (1.5e-5, 5e-5, 1.5e-4), "digital": (1e-3,), "each chip": (3e-4,)}
NUMBERS = {2: "two", 4: "four"}
TRIED = 30
"""Steps at each of several rates, of which the best one is taken."""
LEARNED = {
    "weights": re.compile(rf"blocks/({'|'.join(KERNELS)}|norm1|norm2)|norm"),
    "digital": re.compile(rf"{ADAPTERS}|blocks/(norm1|norm2)|norm"),
}
CHIP = anajax.rng.Stage.CHIP
divergence = functools.partial(distillation, temperature=1.0)
table_of = jax.jit(weight_table)


class Learning:
    """The network with adapters, its text, and rows of results."""

    def __init__(self, setup, text, options):
        self.setup, self.options = setup, options
        self.net = setup.work.apply.__self__
        key = jax.random.key(1)
        self.params = self.net.adapted(stacked(setup.work.params), options.rank, key)
        self.text, self.held = text[:-HELD], jnp.asarray(text[-HELD:])
        self.rates = {}
        self.begin, self.rows = options.begin, []
        x, y = setup.work.x, setup.work.y
        size = min(options.batch, len(x))
        self.windows = [v.reshape(-1, size, v.shape[1]) for v in (x, y)]
        self._losses = jax.jit(self._window_losses)
        self.say(machine())
        self.digital = self.losses(self.params)
        self.say(f"digital {np.exp(self.digital[:FIRST].mean()):.2f}")
        for kernel in KERNELS:
            self.params["blocks"]["digital"][kernel]["down"] = self._directions(kernel)
        self.say("principal directions of inputs")

    def say(self, what):
        print(f"{time.perf_counter() - self.begin:6.1f} s  {what}", flush=True)

    @property
    def left(self):
        """Seconds."""
        return self.options.limit_s - (time.perf_counter() - self.begin)

    def _window_losses(self, params, x, y):
        def of(batch):
            return self.setup.work.loss_fn(self.net.logits(params, batch[0]), batch[1])

        return jax.lax.map(of, (x, y)).ravel()

    def losses(self, params):
        """Log-perplexity of each window of the test text, in full precision."""
        with jax.default_matmul_precision("highest"):
            return np.asarray(self._losses(stacked(params), *self.windows), float)

    def _directions(self, kernel):
        """The first principal directions of what a kernel meets, of each layer."""
        paths = [f"blocks/{i}/{kernel}" for i in range(self.net.layers)]
        moments = jnp.concatenate([self.setup.moments[p] for p in paths])
        return principal_directions(moments, self.options.rank)

    # --- chips ------------------------------------------------------------------------

    @functools.cached_property
    def gone(self):
        """By path, which weights are kept digital."""
        found = {p: jnp.asarray(v) for p, v in self.setup.gone().items()}
        self.say("outliers found")
        return found

    def program(self, params, name, way, gone):
        """What draws chips: weights by path at a month, `draw(key, index)`."""
        setup, device = self.setup, self.setup.devices[name]
        params = {"blocks": unstacked(params)["blocks"]}
        axes = dict(setup.report.layouts)
        own = chip.weights(params, select=lambda path, _: path in axes)
        kept = {p: jnp.where(gone[p], 0, w) for p, w in own.items()} if gone else own
        how = {"select": lambda *_: True, "normalize": "tile", "layout": axes}
        ways = {path: self.padded(_way(way, path), device) for path in own}
        layers = chip.unwritten(kept, ways, **how)

        def one(path, key, index):
            given = {path: layers[path]}, {path: kept[path]}
            read = {"t": setup.month[0], "index": index, "key": key}
            return chip.drawn(device, *given, **read)[path]

        def draw(key, index=1):
            found = {path: one(path, key, index) for path in kept}
            return {p: jnp.where(gone[p], own[p], w) if gone else w
                    for p, w in found.items()}  # fmt: skip

        kinds = {(w.shape, ways[p].cell.devices): p for p, w in kept.items()}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each is compiled once
            list(pool.map(lambda p: one(p, anajax.key(0), 1), kinds.values()))
        return draw

    def padded(self, way, device):
        """The same on six pairs, of which the last count nothing: one trace for all."""
        way, missing = uniform(way), PAIRS - way.cell.factors
        if not self.options.pad or missing <= 0:
            return way
        low = jnp.full((way.knots.shape[0], 2 * missing), device.g_min)
        nothing = jnp.full(missing, NOTHING)
        return replace(
            way,
            cell=pairs(PAIRS),
            targets=jnp.concatenate([way.targets, low], 1),
            significance=jnp.concatenate([way.significance, nothing]),
        )

    def look(self, arm, name, way, params, gone, **about):
        """A row for each chip that nothing was learned on."""
        draw = self.program(params, name, way, gone)
        for index in range(self.options.chips):
            found = draw(anajax.key(index))
            self.row(arm, name, way, gone, index, params, found, **about)

    def row(self, arm, name, way, gone, index, params, weights, **about):
        """Write what a chip loses."""
        losses = self.losses(chip.insert(unstacked(params), weights))
        gap = losses - self.digital
        row = {
            "device": name, "arm": arm, "chip": index,
            "pairs": f"{self.setup.pairs(way):.3f}",
            "rate": 0,
            "digital_weights": 0.005 if gone else 0, "digital_gap": "0", "learned": 0,
            "steps": 0, "tokens": 0, "seconds": 0,
            "gap_8": f"{gap[:FIRST].mean():.4f}",
            "windows": len(gap),
            "gap": f"{gap.mean():.4f}",
        } | about  # fmt: skip
        self.rows.append(row)
        write_csv(str(self.options.out / "language_model_learn.csv"), self.rows)
        self.say(" ".join(map(str, row.values())))

    # --- learning ---------------------------------------------------------------------

    def noise(self, name, way, gone, through):
        """Of all chips."""
        setup, device = self.setup, self.setup.devices[name]
        kept = chip.weights(setup.work.params, select=setup.report)
        if gone:
            kept = {p: jnp.where(gone[p], 0, w) for p, w in kept.items()}
        error = ExpectedError(
            params=chip.insert(setup.work.params, kept), layouts=setup.report.layouts,
            device=device, times=setup.month, normalize="tile",
        )  # fmt: skip
        table = moment_table(device, jnp.asarray(setup.month))
        tables, masks = {}, {}
        for kernel in KERNELS:
            paths = [f"blocks/{i}/{kernel}" for i in range(self.net.layers)]
            every = [
                table_of(self.padded(_way(way, p), device), table, error.density(p))
                for p in paths
            ]
            tables[f"blocks/{kernel}"] = jax.tree.map(lambda *v: jnp.stack(v), *every)
            if gone:
                masks[f"blocks/{kernel}"] = jnp.stack([gone[p] for p in paths])
        how = {"normalize": "tile", "digital": masks, "through": through}
        self.say(f"tables of {name}")
        return table_noise(tables, self.stacks, **how)

    @functools.cached_property
    def stacks(self):
        """Layouts of the stacked kernels."""
        return self.setup.layouts(self.params)

    def learn(self, kind, params, noise, *, seconds, key, steps=None):
        """Parameters after as many steps as fit, and what they took."""
        which = LEARNED["weights" if kind == "weights" else "digital"]
        more = {"learned": lambda path, _: bool(which.fullmatch(path))}
        more |= {"teacher": self.params, "loss": divergence}

        def run(steps, rate):
            options = TrainOptions(
                steps=steps, chips=1, batch=self.options.batch, rate=rate,
                optimizer=self.options.optimizer, chip_dtype=self.options.chip_dtype,
            )  # fmt: skip
            apply = self.net.logits
            loop = trainer(apply, params, self.text, noise, options, **more)
            start = time.perf_counter()
            done = jax.block_until_ready(loop(key))
            return done, time.perf_counter() - start

        if steps is None:
            run(1, RATES[kind][0])  # compiles
            _, each = run(3, RATES[kind][0])
            steps = max(2, int(min(seconds, self.left - 20) / each * 3))
        if kind not in self.rates:
            self.rates[kind] = self._best_rate(kind, noise, run, min(steps, TRIED))
        done, took = run(steps, self.rates[kind])
        chosen = chip.weights(params, select=more["learned"])
        own = self.losses(done) - self.digital
        return done, {
            "learned": sum(w.size for w in chosen.values()), "steps": steps,
            "rate": self.rates[kind],
            "tokens": steps * self.options.batch * self.text.shape[1],
            "seconds": f"{took:.1f}", "digital_gap": f"{own[:FIRST].mean():.4f}",
        }  # fmt: skip

    def _best_rate(self, kind, noise, run, steps):
        """The rate after which other text loses least, after a few steps of each."""
        if len(RATES[kind]) == 1:
            return RATES[kind][0]
        lost = {r: self._noisy(run(steps, r)[0], noise) for r in RATES[kind]}
        self.say(
            f"rates of {kind}: " + ", ".join(f"{r}: {v:.4f}" for r, v in lost.items())
        )
        return min(lost, key=lambda r: lost[r])

    def _noisy(self, params, noise):
        """Mean divergence from the digital network on four chips and held-out text."""
        keys = [anajax.rng.stream(anajax.key(200), CHIP, i) for i in range(4)]
        wanted = self._logits(self.params, self.held)
        every = [
            divergence(self._logits(noise(params, k), self.held), wanted) for k in keys
        ]
        return float(np.mean(every))

    @functools.cached_property
    def _logits(self):
        return jax.jit(self.net.logits)

    def of_each_chip(self, arm, name, way, params, gone, seconds):
        """The digital parameters of each chip, from its own read-outs."""
        steps, read_outs = None, self.options.reads
        draw = self.program(params, name, way, gone)
        for index in range(self.options.chips):
            if self.left < 5:
                return self.say("no time for more chips")
            key = anajax.key(index)
            found, *reads = (draw(key, 1 + i) for i in range(1 + read_outs))
            reads = self._together(reads)
            start = time.perf_counter()
            begin = jax.block_until_ready(measured(params, reads))
            took = {"seconds": f"{time.perf_counter() - start:.1f}"}
            self.row(f"{arm}, measured on each chip", name, way, gone, index, begin,
                     found, **took)  # fmt: skip
            if seconds:
                noise = jax.tree_util.Partial(_read_out, reads)
                done, about = self.learn(
                    "each chip", begin, noise, seconds=seconds, steps=steps,
                    key=anajax.rng.stream(key, anajax.rng.Stage.TRAIN),
                )  # fmt: skip
                steps = about["steps"]
                self.row(f"{arm}, learned on each chip", name, way, gone, index, done,
                         found, **about)  # fmt: skip

    def _together(self, reads):
        """Read-outs of all layers by kernel, `[reads layers rows columns]`."""
        return {
            f"blocks/{kernel}": jnp.stack([
                jnp.stack([r[f"blocks/{i}/{kernel}"] for i in range(self.net.layers)])
                for r in reads
            ])
            for kernel in KERNELS
        }  # fmt: skip


@jax.jit
def measured(params, reads):
    """Parameters whose adapters give what a chip lacks in their directions.

    A chip tells it by its products with these directions: `rank` products a layer.
    """
    blocks = dict(params["blocks"])
    blocks["digital"] = dict(blocks["digital"])
    for kernel in KERNELS:
        own = blocks["digital"][kernel]
        read = jnp.mean(reads[f"blocks/{kernel}"], 0)
        up = measured_adapters(blocks[kernel], read, own["down"])
        blocks["digital"][kernel] = own | {"up": up}
    return params | {"blocks": blocks}


def _read_out(reads, params, key, strength=1.0):
    """Parameters in one of the read-outs of a chip."""
    del strength
    index = jax.random.randint(key, (), 0, len(next(iter(reads.values()))))
    return chip.insert(params, {path: v[index] for path, v in reads.items()})


def _way(way, path):
    return way[path] if isinstance(way, dict) else way
