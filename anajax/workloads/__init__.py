"""Real networks and data for studies: plain Flax, nothing analog."""

from anajax.analysis.metrics import IGNORE as IGNORE
from anajax.analysis.workload import Workload as Workload
from anajax.analysis.workload import evaluate as evaluate
from anajax.workloads.catalog import load as load
from anajax.workloads.catalog import names as names
