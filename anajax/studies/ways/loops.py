"""Loops that measure while they program."""

from pydantic import Field

from anajax import rng
from anajax.analysis.workload import Workload
from anajax.devices.base import Device
from anajax.mapping.strategy import Strategy
from anajax.programming.loops.closed_loop import (
    closed_loop_layers,
    optimize_closed_loop,
)
from anajax.programming.loops.product_descent import (
    ProductDescent,
    product_descent_layers,
)
from anajax.studies.config.sections import Options
from anajax.studies.ways.base import Effort, Way
from anajax.studies.ways.site import Program, Site
from anajax.studies.ways.tables import START


class Loop(Way):
    """A loop follows no table, and its error is not known before it runs."""

    family = "optimized"

    @property
    def effort(self) -> Effort:
        """It reads while it programs, with original or trained weights."""
        return max(Effort.LOOP, super().effort)

    def check(self, work: Workload, device: Device) -> None:
        """Refuse a memory with few levels."""
        self.need_analog(device)


class ClosedLoop(Loop):
    """Each pair corrects the error left by the pairs before it."""

    name: str = "closed_loop"
    reads: int | None = Field(
        default=None, ge=1, description="verify reads of `closed_loop`, 1 or more"
    )

    def build(self, site: Site) -> Program:
        """A policy optimized for the weight error of all layers together."""
        policy = optimize_closed_loop(
            site.device,
            site.error.density(),
            site.times,
            start=_start(site),
            key=rng.path_key(site.key, self.title),
            reads=self.reads or 1,
        ).strategy
        how = {"normalize": site.network.normalize, **site.which}
        layers = closed_loop_layers(site.params, policy, **how)
        return Program(params=site.params, layers=layers)


class Descent(Loop):
    """Every layer is corrected by its own products."""

    name: str = "product_descent"
    descent: Options[ProductDescent] | None = Field(
        default=None, description="options of `product_descent`, or null"
    )

    def build(self, site: Site) -> Program:
        """The tuned strategy, then pulses until products are accurate."""
        loop = ProductDescent() if self.descent is None else self.descent.record
        how = {"normalize": site.network.normalize, **site.which}
        layers = product_descent_layers(site.params, _start(site), loop, **how)
        return Program(params=site.params, layers=layers)


WAYS = (ClosedLoop, Descent)


def _start(site: Site) -> Strategy:
    """One strategy for all layers."""
    start = START.strategies(site)
    return start if isinstance(start, Strategy) else next(iter(start.values()))
