"""One product: a matrix on tiles, with converters, periphery and wire resistance."""

from anajax.crossbar.product import column_sums as column_sums
from anajax.crossbar.product import mvm as mvm
from anajax.crossbar.product import partial_sums as partial_sums
from anajax.crossbar.tiling import Known as Known
from anajax.crossbar.tiling import Scaling as Scaling
from anajax.crossbar.tiling import TileRule as TileRule
from anajax.crossbar.tiling import Tiles as Tiles
from anajax.crossbar.tiling import from_groups as from_groups
from anajax.crossbar.tiling import from_planes as from_planes
from anajax.crossbar.tiling import from_weights as from_weights
from anajax.crossbar.tiling import group_shares as group_shares
from anajax.crossbar.tiling import membership as membership
from anajax.crossbar.tiling import of_tiles as of_tiles
from anajax.crossbar.tiling import rescale as rescale
from anajax.crossbar.tiling import spread as spread
from anajax.crossbar.tiling import through_wires as through_wires
from anajax.crossbar.tiling import weights as weights
