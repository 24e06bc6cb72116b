"""Real networks and real data that the studies run on: plain Flax, nothing analog."""

from anajax.workloads.base import IGNORE as IGNORE
from anajax.workloads.base import Workload as Workload
from anajax.workloads.base import evaluate as evaluate
from anajax.workloads.load import load as load
from anajax.workloads.load import names as names
