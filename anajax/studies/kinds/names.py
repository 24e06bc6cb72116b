"""How a report names keys of a config, with their units, and numbers of hardware."""

from collections.abc import Sequence

from anajax.analysis.hardware import NON_IDEALITIES

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
"""Units of keys, or of the sections that hold them."""
OF_HARDWARE = ("device.noise", "faults", "periphery")
"""Sections whose keys are imperfections, which have names of their own."""
_OWN = {
    "periphery.dac_bits": "DAC", "periphery.adc_bits": "ADC",
    "device.name": "device", "strategy.name": "strategy", "workload.name": "network",
}  # fmt: skip


def title(key: str) -> str:
    """What a key stands for: `device.noise.read` is "read noise"."""
    section, _, last = key.rpartition(".")
    if section in OF_HARDWARE and last in NON_IDEALITIES:
        return NON_IDEALITIES[last].title
    return _OWN.get(key, last.replace("_", " "))


def titles(keys: Sequence[str]) -> list[str]:
    """What keys stand for, or the keys where two would read the same."""
    found = [title(key) for key in keys]
    return found if len(set(found)) == len(found) else list(keys)


def unit(key: str) -> str:
    """The unit of a key in brackets behind a space; nothing for words and numbers."""
    for name, text in UNITS.items():
        if key == name or key.startswith(f"{name}."):
            return f" ({text})"
    return ""


def of_value(key: str, name: str, value: str) -> str:
    """A key at a value, in a sentence: "read noise × 2", "ADC 8 bits"."""
    text = unit(key).strip(" ()")
    if text == "factor":
        return f"{name} × {value}"
    return f"{name} {value}{f' {text}' * bool(text)}"


_SCALES = {
    "device/programming/scale": "programming", "device/drift/mean_scale": "drift_mean",
    "device/drift/spread_scale": "drift_spread", "device/read/scale": "read",
    "periphery/noise/sd": "output_noise",
}  # fmt: skip
"""Numbers that are an imperfection as a whole."""
_WORDS = {
    "dac": "DAC", "adc": "ADC", "codes": "number of steps", "bound": "range",
    "nu_mean": "mean exponent", "nu_sd": "spread of the exponent",
    "t0": "time of the first read", "t_read": "duration of a read",
    "sd": "standard deviation", "coefficients": "coefficient",
}  # fmt: skip


def parameter(path: str) -> str:
    """What a number is: `device/drift/nu_mean/low` is "drift: mean exponent, low"."""
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


def short(path: object) -> str:
    """A layer's path without "/kernel"."""
    return str(path).removesuffix("/kernel")
