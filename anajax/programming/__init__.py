"""The search for the best way to program: objectives, optimisers, certificates.

`anajax.programming.layerwise`, which needs flax, is imported by its own name.
"""

from anajax.programming.certify import Certificate as Certificate
from anajax.programming.certify import certify as certify
from anajax.programming.closed_loop import Policy as Policy
from anajax.programming.closed_loop import closed_loop_layers as closed_loop_layers
from anajax.programming.closed_loop import follow_open as follow_open
from anajax.programming.closed_loop import optimize_closed_loop as optimize_closed_loop
from anajax.programming.closed_loop import program_closed_loop as program_closed_loop
from anajax.programming.evolution import Evolved as Evolved
from anajax.programming.evolution import evolve_strategy as evolve_strategy
from anajax.programming.gradient import Optimized as Optimized
from anajax.programming.gradient import optimize_strategy as optimize_strategy
from anajax.programming.levels import Enumerated as Enumerated
from anajax.programming.levels import enumerate_levels as enumerate_levels
from anajax.programming.objective import ExactError as ExactError
from anajax.programming.objective import SampledError as SampledError
from anajax.programming.objective import make_objective as make_objective
from anajax.programming.product_descent import ProductDescent as ProductDescent
from anajax.programming.product_descent import (
    program_by_products as program_by_products,
)
from anajax.programming.sensitivity import device_elasticities as device_elasticities
from anajax.programming.sensitivity import fisher as fisher
from anajax.programming.targets import OptimizedTargets as OptimizedTargets
from anajax.programming.targets import distillation as distillation
from anajax.programming.targets import optimize_targets as optimize_targets
from anajax.programming.unknowns import Box as Box
