"""The costs of a network on a chip: counts, energy, latency, area."""

from anajax.costs.array import array_energy as array_energy
from anajax.costs.array import loads as loads
from anajax.costs.chips import ChipRecord as ChipRecord
from anajax.costs.chips import Measured as Measured
from anajax.costs.chips import MeasuredChip as MeasuredChip
from anajax.costs.chips import calibrated as calibrated
from anajax.costs.counts import Counts as Counts
from anajax.costs.counts import LayerCounts as LayerCounts
from anajax.costs.counts import count as count
from anajax.costs.estimate import Costs as Costs
from anajax.costs.estimate import costs as costs
from anajax.costs.files import load_chip as load_chip
from anajax.costs.known import almaden as almaden
from anajax.costs.known import hermes as hermes
from anajax.costs.known import neurram as neurram
from anajax.costs.objective import Energy as Energy
from anajax.costs.objective import full_energy as full_energy
from anajax.costs.objective import spending as spending
from anajax.costs.plans import Upkeep as Upkeep
from anajax.costs.plans import upkeep as upkeep
