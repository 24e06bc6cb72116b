"""Names for readers: of networks, devices, strategies, config keys and parameters.

Configs and tables show what users type; figures show these names. Anything not listed
here, such as a user's own device, is shown by its own name, with underscores as spaces.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from anajax.analysis.hardware import NON_IDEALITIES

NETWORKS = {
    "digits": "handwritten digits, small CNN",
    "banking77_minilm": "intents, MiniLM-L6",
    "cifar10_resnet20": "CIFAR-10, ResNet-20",
    "cifar10_resnet32": "CIFAR-10, ResNet-32",
    "fashion_resnet8": "Fashion-MNIST, ResNet-8",
    "fashion_resnet32": "Fashion-MNIST, ResNet-32",
    "fsdd_lstm": "spoken digits, LSTM",
    "kws_lstm_s": "keywords, small LSTM",
    "kws_lstm_l": "keywords, large LSTM",
    "kws_lstm_s_speakers": "keywords, small LSTM",
    "kws_lstm_l_speakers": "keywords, large LSTM",
    "smollm2": "WikiText-2, SmolLM2-135M",
    "tinyshakespeare_llama": "Shakespeare, small Llama",
    "tinyshakespeare_lstm": "Shakespeare, LSTM",
}
"""Names of workloads."""
DEVICES = {
    "ideal": "ideal cells",
    "state_independent": "cells of equal noise",
    "pcm": "PCM",
    "pcm_joshi": "PCM (Joshi 2020)",
    "pcm_hermes": "HERMES PCM",
    "pcm_hermes_1": "HERMES PCM",
    "pcm_hermes_2": "HERMES PCM, two devices",
    "reram_wan": "ReRAM (Wan 2022)",
    "reram_cmo": "CMO/HfOx ReRAM",
    "reram_cmo_2": "CMO/HfOx ReRAM, 2 %",
    "reram_milo": "ReRAM (Milo 2021)",
    "flash_sonos": "SONOS flash",
    "flash_floating_gate": "floating-gate flash",
    "mram_stt": "STT-MRAM",
}
"""Names of devices."""
PROGRAMS = {
    "digital": "digital",
    "single_pair": "single pair",
    "offset_device": "one device with offset",
    "msp_first": "most significant pair first",
    "lsp_first": "least significant pair first",
    "equal_split": "two equal pairs",
    "msp_first_tuned": "most significant pair first, tuned",
    "lsp_first_tuned": "least significant pair first, tuned",
    "equal_split_tuned": "two equal pairs, tuned",
    "pairs_per_layer": "pairs by layer",
    "optimized": "least weight error",
    "targets": "learned targets",
    "closed_loop": "closed loop",
    "product_descent": "product descent",
    "recommended": "recommended",
}
"""Names of strategies."""


def network(name: str) -> str:
    """Name of a workload for readers."""
    return NETWORKS.get(name, _words(name))


def device(name: str) -> str:
    """Name of a device for readers."""
    return DEVICES.get(name, _words(name))


def place(data: xr.Dataset) -> str:
    """The network of results and what it is on: "keywords, small LSTM, on PCM"."""
    several = data.sizes["device"]
    on = device(str(data.device.values[0])) if several == 1 else f"{several} memories"
    return f"{network(data.attrs['workload'])}, on {on}"


def program(label: str, *, trained: bool = False) -> str:
    """Name of a strategy for readers.

    Args:
        label: label of the strategy.
        trained: whether it programs trained weights; only built-in names mention it.
    """
    known = PROGRAMS.get(label)
    if known is None:
        return _words(label)
    return f"{known}, trained weights" if trained else known


def upper(text: str) -> str:
    """Text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _words(name: str) -> str:
    return name.replace("_", " ")


# --- keys of configs, and parameters of hardware --------------------------------------

UNITS = {
    "device.noise": "factor",
    "device.options.g_max": "µS",
    "device.levels": "µS",
    "faults": "fraction",
    "periphery.dac_bits": "bits",
    "periphery.adc_bits": "bits",
    "periphery.output_noise": "w_max at full input",
    "periphery.wires": "Ω per segment",
    "strategy.k": "of the full range",
    "times": "s",
}
"""Units of keys, or of sections of keys."""
OF_HARDWARE = ("device.noise", "faults", "periphery")
"""Sections whose keys name imperfections."""
_OWN = {
    "periphery.dac_bits": "DAC", "periphery.adc_bits": "ADC",
    "device.name": "device", "strategy.name": "strategy", "workload.name": "network",
}  # fmt: skip


def title(key: str) -> str:
    """Name of a config key: `device.noise.read` is "read noise"."""
    section, _, last = key.rpartition(".")
    if section in OF_HARDWARE and last in NON_IDEALITIES:
        return NON_IDEALITIES[last].title
    return _OWN.get(key, last.replace("_", " "))


def titles(keys: Sequence[str]) -> list[str]:
    """Names of config keys, or the keys themselves if two names are the same."""
    found = [title(key) for key in keys]
    return found if len(set(found)) == len(found) else list(keys)


def unit(key: str) -> str:
    """Unit of a key in parentheses after a space; empty if it has none."""
    for name, text in UNITS.items():
        if key == name or key.startswith(f"{name}."):
            return f" ({text})"
    return ""


def of_value(key: str, name: str, value: str) -> str:
    """A key with its value, for a sentence: "read noise × 2", "ADC 8 bits"."""
    text = unit(key).strip(" ()")
    if text == "factor":
        return f"{name} × {value}"
    return f"{name} {value}{f' {text}' * bool(text)}"


_SCALES = {
    "device/programming/scale": "programming", "device/drift/mean_scale": "drift_mean",
    "device/drift/spread_scale": "drift_spread", "device/read/scale": "read",
    "periphery/noise/sd": "output_noise",
}  # fmt: skip
"""Parameters that scale an imperfection as a whole."""
_WORDS = {
    "dac": "DAC", "adc": "ADC", "codes": "number of steps", "bound": "range",
    "nu_mean": "mean exponent", "nu_sd": "spread of the exponent",
    "t0": "time of the first read", "t_read": "duration of a read",
    "sd": "standard deviation", "coefficients": "coefficient",
}  # fmt: skip


def parameter(path: str) -> str:
    """Name of a parameter: `device/drift/nu_mean` is "drift: mean exponent"."""
    whole, *rest = path.split("/")
    stage, *leaf = rest if rest and whole in ("device", "periphery") else [whole, *rest]
    name = leaf[-1] if stage == "faults" and leaf else _SCALES.get(path, "")
    if name in NON_IDEALITIES:
        return NON_IDEALITIES[name].title
    words = [_WORDS.get(word, word.replace("_", " ")) for word in (stage, *leaf)]
    numbered: list[str] = []
    for word in words[1:]:  # "coefficient 1", not "coefficient, 1"
        if word.isdecimal() and numbered:
            numbered[-1] += f" {word}"
        else:
            numbered.append(word)
    return f"{words[0]}{': ' * bool(numbered)}{', '.join(numbered)}"


def valued(value: object, unit: object) -> str:
    """A number and its unit, which may be empty: "20 s", "5 µS"."""
    return f"{float(np.asarray(value)):.4g} {symbol(str(np.asarray(unit)))}".strip()


def symbol(unit: str) -> str:
    """A unit as readers write it: "µS" for "uS"."""
    return unit.replace("uS", "µS").replace("Ohm", "Ω")


def short(path: object) -> str:
    """A layer's path without "/kernel"."""
    return str(path).removesuffix("/kernel")
