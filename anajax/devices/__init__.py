"""Device models: what happens to one conductance between its target and its read."""

from anajax.devices.base import AbstractDrift as AbstractDrift
from anajax.devices.base import AbstractProgramming as AbstractProgramming
from anajax.devices.base import AbstractRead as AbstractRead
from anajax.devices.base import Cells as Cells
from anajax.devices.base import Device as Device
from anajax.devices.base import age as age
from anajax.devices.base import program as program
from anajax.devices.base import read as read
from anajax.devices.drift import NoDrift as NoDrift
from anajax.devices.drift import PowerLawDrift as PowerLawDrift
from anajax.devices.presets import ideal as ideal
from anajax.devices.presets import pcm as pcm
from anajax.devices.presets import pcm_hermes as pcm_hermes
from anajax.devices.presets import presets as presets
from anajax.devices.presets import state_independent as state_independent
from anajax.devices.programming import GaussianProgramming as GaussianProgramming
from anajax.devices.programming import NoProgrammingError as NoProgrammingError
from anajax.devices.read_noise import FlickerRead as FlickerRead
from anajax.devices.read_noise import NoReadNoise as NoReadNoise
from anajax.devices.tables import tabulated as tabulated
from anajax.devices.variation import scale_noise as scale_noise
