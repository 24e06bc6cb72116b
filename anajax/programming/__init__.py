"""The search for what to program: objectives, optimizers, certificates.

`end_to_end.layer_by_layer` needs flax and is imported by its full name.
"""

from anajax.programming.end_to_end.fisher import (
    device_elasticities as device_elasticities,
)
from anajax.programming.end_to_end.fisher import (
    fisher_information as fisher_information,
)
from anajax.programming.end_to_end.targets import OptimizedTargets as OptimizedTargets
from anajax.programming.end_to_end.targets import distillation as distillation
from anajax.programming.end_to_end.targets import optimize_targets as optimize_targets
from anajax.programming.loops.closed_loop import Policy as Policy
from anajax.programming.loops.closed_loop import (
    closed_loop_layers as closed_loop_layers,
)
from anajax.programming.loops.closed_loop import follow_open as follow_open
from anajax.programming.loops.closed_loop import (
    optimize_closed_loop as optimize_closed_loop,
)
from anajax.programming.loops.closed_loop import (
    program_closed_loop as program_closed_loop,
)
from anajax.programming.loops.product_descent import ProductDescent as ProductDescent
from anajax.programming.loops.product_descent import (
    program_by_products as program_by_products,
)
from anajax.programming.search.certify import Certificate as Certificate
from anajax.programming.search.certify import certify_strategy as certify_strategy
from anajax.programming.search.evolution import evolve_strategy as evolve_strategy
from anajax.programming.search.gradient import optimize_strategy as optimize_strategy
from anajax.programming.search.layers import optimize_layers as optimize_layers
from anajax.programming.search.levels import enumerate_levels as enumerate_levels
from anajax.programming.search.objective import ExactError as ExactError
from anajax.programming.search.objective import SampledError as SampledError
from anajax.programming.search.objective import make_objective as make_objective
from anajax.programming.search.parameters import Bounds as Bounds
