"""Names of aihwkit 1.2: parameters of tiles, presets and noise models."""

from collections.abc import Callable, Mapping
from typing import Any

from anajax import devices
from anajax._core import checks
from anajax._core.tree import replace
from anajax.crossbar import periphery
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, AbsMax, BoundManagement, OutputNoise
from anajax.devices.base import Device


def _managed(
    dac: int, adc: int, bound: float, noise: float, halvings: int
) -> Callable[[], IO]:
    """Inputs scaled to their largest magnitude, read again where an ADC overflows."""
    return lambda: IO(
        scaling=AbsMax(), dac=uniform(dac, 1.0), noise=OutputNoise(sd=noise),
        adc=uniform(adc, bound), bounds=BoundManagement(max_halvings=halvings),
    )  # fmt: skip


def _default() -> IO:
    return replace(periphery.standard(), bounds=BoundManagement())


_PRESET = _managed(7, 9, 20.0, 0.1, 4)
IOS: Mapping[str, Callable[[], IO]] = {
    "IOParameters": _default,
    "InferenceRPUConfig": _default,
    "PresetIOParameters": _PRESET,
    "PCMPreset": _PRESET,
    "StandardIOParameters": _managed(8, 8, 10.0, 0.04, 5),
    "StandardHWATrainingPreset": lambda: periphery.training(3.0),
    "FloatingPointPreset": periphery.ideal,
}
"""Peripheries of a forward pass. Inputs are halved as long as a quarter of the
resolution of the DAC is left: four times at 7 bits, five times at 8."""
DEVICES: Mapping[str, Callable[..., Device]] = {
    "PCMLikeNoiseModel": devices.pcm,
    "ReRamWan2022NoiseModel": devices.reram_wan,
    "ReRamCMONoiseModel": devices.reram_cmo,
}
"""Devices of the papers that these noise models are based on."""


def io(name: str) -> IO:
    """The periphery that corresponds to a class of aihwkit.

    Args:
        name: name of parameters (`IOParameters`, `PresetIOParameters`,
            `StandardIOParameters`) or of a preset. Presets for training on a chip
            differ from `PCMPreset` in the update of weights, which has no counterpart.

    Raises:
        ValueError: for a name without a counterpart.

    Example:
        >>> f = anajax.analog(apply, anajax.Rule(".*", io=io("StandardIOParameters")))
    """
    return _named(IOS, name)()


def device(name: str, **options: Any) -> Device:
    """The device that corresponds to a noise model of aihwkit.

    Args:
        name: name of the noise model.
        **options: options of the device, such as `g_max` in uS.

    Raises:
        ValueError: for a name without a counterpart.

    Example:
        >>> device("PCMLikeNoiseModel").name
        'pcm'
    """
    return _named(DEVICES, name)(**options)


def _named(known: Mapping[str, Any], name: str) -> Any:
    checks.word("name", name, tuple(known))
    return known[name]
