"""What a network costs on a chip: counts, energy, latency, area."""

from anajax.costs.counts import Counts as Counts
from anajax.costs.counts import LayerCounts as LayerCounts
from anajax.costs.counts import count as count
