"""Published memories, a technology a file.

Every preset is a function that returns a `Device`; nothing is registered or cached.
"""

from collections.abc import Callable

from anajax.devices.base import Device
from anajax.devices.models.flash import flash_floating_gate, flash_sonos
from anajax.devices.models.ideal import ideal, state_independent
from anajax.devices.models.mram import mram_stt
from anajax.devices.models.pcm import pcm, pcm_hermes, pcm_joshi
from anajax.devices.models.reram import reram_cmo, reram_milo, reram_wan


def presets() -> dict[str, Callable[..., Device]]:
    """The published devices by name, for configs: each value makes a `Device`."""
    return {
        "ideal": ideal,
        "state_independent": state_independent,
        "pcm": pcm,
        "pcm_joshi": pcm_joshi,
        "pcm_hermes": pcm_hermes,
        "reram_wan": reram_wan,
        "reram_cmo": reram_cmo,
        "reram_milo": reram_milo,
        "flash_sonos": flash_sonos,
        "flash_floating_gate": flash_floating_gate,
        "mram_stt": mram_stt,
    }
