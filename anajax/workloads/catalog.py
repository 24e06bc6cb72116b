"""Workloads by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from anajax._core import checks
from anajax.analysis.workload import Workload
from anajax.workloads.characters import load_characters
from anajax.workloads.digits import load_digits_net
from anajax.workloads.images import load_cifar10, load_fashion
from anajax.workloads.intents import load_intents
from anajax.workloads.keywords import load_keywords
from anajax.workloads.language.smollm2 import load_smollm2
from anajax.workloads.language.verses import load_verses
from anajax.workloads.spoken_digits import load_spoken_digits

LOADERS: dict[str, Callable[..., Workload]] = {
    "digits": load_digits_net,
    "banking77_minilm": load_intents,
    "cifar10_resnet20": partial(load_cifar10, 20),
    "cifar10_resnet32": partial(load_cifar10, 32),
    "fashion_resnet8": partial(load_fashion, 8),
    "fashion_resnet32": partial(load_fashion, 32),
    "fsdd_lstm": load_spoken_digits,
    "kws_lstm_s": partial(load_keywords, "lstm_s", by_speaker=False),
    "kws_lstm_l": partial(load_keywords, "lstm_l", by_speaker=False),
    "kws_lstm_s_speakers": partial(load_keywords, "lstm_s", by_speaker=True),
    "kws_lstm_l_speakers": partial(load_keywords, "lstm_l", by_speaker=True),
    "smollm2": load_smollm2,
    "tinyshakespeare_llama": load_verses,
    "tinyshakespeare_lstm": load_characters,
}


def names() -> tuple[str, ...]:
    """The names that `load` knows."""
    return tuple(LOADERS)


def load(
    name: str, *, data: Path | str | None = None, items: int | None = None
) -> Workload:
    """A trained network with real data, by name.

    Args:
        name: one of `names()`.
        data: folder with local data sets, each in its own subfolder; by default the
            environment variable `ANAJAX_DATA`.
        items: number of test items, the first ones of a fixed random order (100 items
            are the first 100 of 500); all by default.

    Raises:
        ValueError: for an unknown name, or more items than there are.
        FileNotFoundError: if data are missing; the message says how to get them.
        ModuleNotFoundError: if a package with the data is missing.
    """
    if name not in LOADERS:
        known = ", ".join(LOADERS)
        checks.fail("name", "name a workload", repr(name), f"Known names: {known}.")
    return LOADERS[name](data=None if data is None else Path(data), items=items)
