"""What `language_model.py learn` looks at, arm by arm, within its time."""

import functools
import traceback

from language_model_learn import HAND, NUMBERS, SECONDS, Learning

import anajax
from anajax import strategies


def arms(run):
    """What is looked at, in this order, as functions by name."""
    setup, made = run.setup, {}

    def way(name, pairs):
        return setup.by_layer(name, pairs)

    def untrained(name):
        device = setup.devices[name]
        four = strategies.lsp_first(device, f=setup.alike[name])
        two = strategies.lsp_first(device, f=HAND[name])
        for arm, own, gone in (
            ("four pairs by layer, outliers digital", way(name, 4), run.gone),
            ("two pairs by layer, outliers digital", way(name, 2), run.gone),
            ("two pairs", two, None),
            ("four pairs", four, None),
        ):
            run.look(arm, name, own, run.params, gone)

    def shared(kind, name, through=True):
        noise = run.noise(name, way(name, 2), run.gone, through)
        how = {"seconds": SECONDS[kind] * run.options.scale, "key": anajax.key(100)}
        done, about = run.learn(kind, run.params, noise, **how)
        if kind == "weights" and through:
            made[name] = done
        arm = f"two pairs, {kind} learned{'' if through else ' straight'}"
        run.look(arm, name, way(name, 2), done, run.gone, **about)

    def each(name, count=2, first=True):
        seconds = SECONDS["each chip"] * run.options.scale * (count == 2)
        params = run.params if first else made.get(name)
        arm = f"{NUMBERS[count]} pairs" + ("" if first else ", weights learned")
        if params is not None:
            run.of_each_chip(arm, name, way(name, count), params, run.gone, seconds)

    weights = functools.partial(shared, "weights")
    return {
        "untrained": untrained,
        "weights": weights,
        "weights_each": functools.partial(each, first=False),
        "each": each,
        "four_each": functools.partial(each, count=4),
        "digital": functools.partial(shared, "digital"),
        "straight": functools.partial(weights, through=False),
    }


def learn(setup, text, options):
    """All arms that the time allows.

    One that fails does not stop the others: time on a lent GPU is short, and rows are
    written as they come. The run fails in the end.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    run = Learning(setup, text, options)
    made, failed = arms(run), []
    for arm in options.arms or made:
        for name in setup.devices:
            if run.left < 15:
                run.say(f"no time for {arm} of {name}")
                continue
            try:
                made[arm](name)
            except Exception:
                traceback.print_exc()
                failed.append(f"{arm} of {name}")
    run.say("done")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
