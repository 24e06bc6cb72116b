"""One weight as conductances: unit cells, strategies, densities, expected errors."""

from anajax.mapping.strategy import Normalize as Normalize
from anajax.mapping.strategy import Normalized as Normalized
from anajax.mapping.strategy import Strategy as Strategy
from anajax.mapping.strategy import Targets as Targets
from anajax.mapping.strategy import UnitCell as UnitCell
from anajax.mapping.strategy import Weights as Weights
from anajax.mapping.strategy import as_strategy as as_strategy
from anajax.mapping.strategy import canonical as canonical
from anajax.mapping.strategy import check_layers as check_layers
from anajax.mapping.strategy import check_strategy as check_strategy
from anajax.mapping.strategy import copies as copies
from anajax.mapping.strategy import decode as decode
from anajax.mapping.strategy import encode as encode
from anajax.mapping.strategy import full_scale as full_scale
from anajax.mapping.strategy import interpolation as interpolation
from anajax.mapping.strategy import normalized as normalized
from anajax.mapping.strategy import pairs as pairs
from anajax.mapping.strategy import resample as resample
from anajax.mapping.strategy import singles as singles
from anajax.mapping.strategy import slices as slices
