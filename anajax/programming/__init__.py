"""The search for the best way to program: objectives, optimisers, certificates."""

from anajax.programming.certify import Certificate as Certificate
from anajax.programming.certify import certify as certify
from anajax.programming.evolution import Evolved as Evolved
from anajax.programming.evolution import evolve_strategy as evolve_strategy
from anajax.programming.gradient import Optimized as Optimized
from anajax.programming.gradient import optimize_strategy as optimize_strategy
from anajax.programming.levels import Enumerated as Enumerated
from anajax.programming.levels import enumerate_levels as enumerate_levels
from anajax.programming.objective import ExactError as ExactError
from anajax.programming.objective import SampledError as SampledError
from anajax.programming.objective import make_objective as make_objective
from anajax.programming.unknowns import Box as Box
