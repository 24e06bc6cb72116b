"""Any function of parameters and inputs, with its weights on analog hardware.

    hardware = analog(apply, Rule(".*", io=periphery.standard()))
    print(hardware.report(params, x))
    y = hardware(params, x, key=key)

`analog` reads the computation of `apply` (its jaxpr), finds each product of a parameter
with an activation, and evaluates it on tiles; everything else is unchanged. The result
is a pure function again, for `jit`, `grad`, `vmap`, `scan`, `checkpoint`, `shard_map`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax import rng
from anajax._core import checks
from anajax._core.types import JArray, PRNGKey, PyTree
from anajax.chip import Strategies, encode_weights, program
from anajax.crossbar.tiling import membership
from anajax.devices.base import Device
from anajax.mapping.strategy import Normalize
from anajax.transformation import calibrate, control, equations
from anajax.transformation.calibrate import Look, Ranges, Seen
from anajax.transformation.marks import Folded, Mark, parameter
from anajax.transformation.on_chip import (
    AnalogChip,
    Combine,
    OnChip,
    Scope,
    shifted,
)
from anajax.transformation.plan import Builder, Plan, flattened, run
from anajax.transformation.report import Report, check_tiles, report
from anajax.transformation.rules import (
    Rule,
    as_rules,
    check_folds,
    check_held,
    check_signature,
    check_used,
    first,
)
from anajax.transformation.sites import Context, Site, plain_value

HANDLERS = equations.HANDLERS | control.HANDLERS


def analog(
    apply: Callable[..., Any], rules: Rule | Sequence[Rule] = ()
) -> "AnalogFunction":
    """The function `apply(params, *inputs)` with its weights on tiles, following rules.

    Functions with custom derivatives (`jax.custom_vjp`) keep them, except those that
    contain a site: these are differentiated as computed.

    Arrays are traced; other leaves of the arguments (strings, Python numbers, flags)
    stay unchanged.

    Args:
        apply: any function of parameters (a pytree) and inputs.
        rules: in order; the first that matches the path of a parameter applies, and
            parameters without a match stay digital. Without rules all weights are
            analog, on ideal hardware.

    Raises:
        ValueError: if `rules` holds anything but rules, or `apply` has a keyword-only
            argument `key` or `ranges`.

    Example:
        >>> f = anajax.analog(apply, [anajax.Rule(".*", io=periphery.standard())])
        >>> f(params, x, key=key).shape
        (8, 4)
        >>> [entry.path for entry in f.report(params, x).analog]
        ['kernel']
    """
    return AnalogFunction(apply, rules)


class AnalogFunction:
    """A function with its weights on tiles; made by `analog`."""

    def __init__(self, apply: Callable[..., Any], rules: Rule | Sequence[Rule]):
        self.apply, self.rules = apply, as_rules(rules)
        self.given = bool(rules)
        check_signature(apply)

    def __call__(
        self,
        params: PyTree,
        *inputs: Any,
        key: PRNGKey | None = None,
        ranges: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """The result of `apply(params, *inputs, **options)` on this hardware.

        Args:
            params: parameters, or those of a chip at a time, from `put_on_chip`.
            *inputs: inputs.
            key: key of the noise. Each site derives its own from the path of its
                weight, its number among the uses of this weight, and the step of
                enclosing loops. Required if the hardware has noise. Calls with the same
                key have the same noise: fold in a step, or a device of a `shard_map`
                with `check_vma=False`.
            ranges: input and ADC ranges by site, from `calibrate`, or whole `IO`
                records, which replace those of the rules; differentiable. If a step of
                a loop selects the weight, arrays have a leading axis for the steps.
            **options: keyword arguments of `apply`.

        Raises:
            ValueError: if a rule matches nothing or only weights without a product,
                noise has no key, or ranges belong to no site.
        """
        ranges = {} if ranges is None else ranges
        held, digital = {}, {}
        if isinstance(params, OnChip):
            params, held, digital = params.params, params.held, params.digital
        plan, builder, flat, tree, shapes = self._plan(params, inputs, options, held)
        calibrate.check_ranges(ranges, builder.sites)
        flat[: len(shapes)] = [
            held.get(path, array) for path, array in zip(shapes, flat, strict=False)
        ]
        keys = rng.path_keys(key, [site.name for site in builder.sites])
        context = Context(key, ranges, digital=digital, keys=keys)
        outs = run(plan, context, flat)
        return jax.tree.unflatten(tree, [plain_value(out) for out in outs])

    def sites(self, params: PyTree, *inputs: Any, **options: Any) -> tuple[Site, ...]:
        """The products on tiles; arguments may be `jax.ShapeDtypeStruct`."""
        return tuple(self._plan(params, inputs, options)[1].sites)

    def report(self, params: PyTree, *inputs: Any, **options: Any) -> Report:
        """How every parameter is treated; arguments may be `jax.ShapeDtypeStruct`.

        Raises:
            ValueError: if a rule matches nothing or only weights without a product.
        """
        _, builder, _, _, shapes = self._plan(params, inputs, options)
        return report(shapes, builder)

    def calibrate(
        self,
        params: PyTree,
        *inputs: Any,
        within: float = 1.0,
        outputs: float = 1.0,
        mask: JArray | None = None,
        over: str | tuple[str, ...] = (),
        **options: Any,
    ) -> Ranges:
        """Input and ADC ranges by site, as required by these inputs.

        The function runs with exact products. A `LearnedRange` or `ConstantScale` gets
        a quantile of the inputs of its site; an ADC with a bound gets one of the column
        sums with that range. Each layer of a stack has its own; steps of a recurrence
        share the largest. A pure function, for any transformation. For several batches:

            seen = functools.reduce(merged, (f.observe(params, x) for x in batches))
            y = f(params, x, ranges=finished(seen))

        with `merged` and `finished` of `anajax.transformation`.

        Args:
            params: parameters.
            *inputs: inputs.
            within: fraction of the inputs that must fit, in (0, 1].
            outputs: fraction of the column sums that must fit, in (0, 1].
            mask: true for valid inputs, `[items ...]` or `[items steps ...]`, false for
                padding. Its axes are the first of each activation, or the steps of an
                enclosing loop.
            over: axes of an enclosing `shard_map`; takes the largest over its devices.
            **options: keyword arguments of `apply`.

        Raises:
            ValueError: as the function itself, and for a fraction out of range, or a
                mask that does not fit an activation.
        """
        how = {"within": within, "outputs": outputs, "mask": mask, "over": over}
        return calibrate.finished(self.observe(params, *inputs, **how, **options))

    def observe(
        self,
        params: PyTree,
        *inputs: Any,
        within: float = 1.0,
        outputs: float = 1.0,
        mask: JArray | None = None,
        over: str | tuple[str, ...] = (),
        vectors: int | None = None,
        by_column: bool | None = None,
        **options: Any,
    ) -> Seen:
        """The input of `calibrate` for one batch, to be merged with other batches.

        Arguments and errors are those of `calibrate`. At most `vectors` inputs of each
        product are used, evenly spaced. With `by_column`, the sums of each column are
        relative to its largest weight; unless it is `None`, these weights are returned
        as `"columns"`.
        """
        look = calibrate.observer(within, outputs, vectors=vectors, by_column=by_column)
        seen = self.seen_by(look, params, *inputs, mask=mask, **options)
        return jax.lax.pmax(seen, over) if over else seen

    def seen_by(
        self,
        look: Callable[..., Any],
        params: PyTree,
        *inputs: Any,
        mask: JArray | None = None,
        key: PRNGKey | None = None,
        **options: Any,
    ) -> Seen:
        """The results of an observer of `transformation.calibrate` for each product.

        Args:
            look: from `calibrate.observer`.
            params: parameters.
            *inputs: inputs.
            mask: as in `calibrate`.
            key: key of the noise, if the observer includes it.
            **options: keyword arguments of `apply`.
        """
        plan, _, flat, _, _ = self._plan(params, inputs, options)
        mask = None if mask is None else jnp.asarray(mask, bool)
        context = Context(key, {}, observer=look, mask=mask)
        run(plan, context, flat)
        return context.seen

    def tally(
        self,
        look: Look,
        params: PyTree,
        *inputs: Any,
        ranges: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The result of `look` for each product on tiles, summed over all of its runs.

        The function runs with exact products. Each layer of a stack has its own total;
        recurrent steps, loop iterations and parts of a batch are summed.

        Args:
            look: gives a pytree of arrays for a product's operands and periphery.
            params: parameters, or those of a chip.
            *inputs: inputs.
            ranges: from `calibrate`; replace those of the rules.
            **options: keyword arguments of `apply`.

        Returns:
            By site, the sum of the results of `look`.

        Raises:
            ValueError: as the function itself.
        """
        ranges, held = {} if ranges is None else ranges, {}
        if isinstance(params, OnChip):
            params, held = params.params, params.held
        plan, builder, flat, _, shapes = self._plan(params, inputs, options, held)
        calibrate.check_ranges(ranges, builder.sites)
        for i, path in enumerate(shapes):
            flat[i] = held.get(path, flat[i])
        observe = calibrate.looking(look)
        context = Context(None, ranges, observer=observe, adds=True)
        run(plan, context, flat)
        return context.seen

    def folded(
        self, params: PyTree, *inputs: Any, **options: Any
    ) -> tuple[PyTree, Callable[..., Any]]:
        """Folded arrays as parameters, and `apply` as a function of them.

            both, plain = analog(apply, Rule("v", fold=True)).folded(params, x)
            report = analog(plain).report(both, x)  # holds "folded/v"
            noisy = anajax.perturb(both, device, strategy, select=report, ...)

        A chip then holds the result of a mask, weight norm or quantizer.

        Args:
            params: parameters.
            *inputs: inputs.
            **options: keyword arguments of `apply`.

        Returns:
            `{"params": params, "folded": arrays}`, with arrays by site (with a leading
            axis for a stack), and `plain(both, *inputs, **options)`, without hardware.

        Raises:
            ValueError: as the function itself; if no weight is folded, or one is inside
                a branch or a loop of unknown length.
        """
        plan, builder, flat, _, _ = self._plan(params, inputs, options)
        check_folds(builder.sites)
        context = Context(None, {}, folded={})
        run(plan, context, flat)

        def plain(both: PyTree, *inputs: Any, **options: Any) -> Any:
            plan, _, flat, tree, _ = self._plan(both["params"], inputs, options)
            outs = run(plan, Context(None, {}, folded=both["folded"]), flat)
            return jax.tree.unflatten(tree, [plain_value(out) for out in outs])

        return {"params": params, "folded": context.seen}, plain

    def put_on_chip(
        self,
        params: PyTree,
        *inputs: Any,
        device: Device,
        strategy: Strategies,
        key: PRNGKey,
        scope: Scope = "layer",
        normalize: Normalize = "layer",
        combine: Combine = "analog",
        ranges: Mapping[str, Any] | None = None,
        extrapolate: bool = False,
        **options: Any,
    ) -> AnalogChip:
        """Program the weights on the cells of one chip, and read it for the first time.

            part = hardware.put_on_chip(
                params, x, device=device, strategy=strategy, key=key
            )
            y = hardware(part.at(86400.0), x, key=key)

        Every product then uses the individual cells with fresh read noise, and drift
        compensation measured through the converters of its rule.

        Args:
            params: trained parameters.
            *inputs: inputs, or their shapes, which tell which parameters are weights.
            device: the device model.
            strategy: how weights become conductances; one for all, or one per path.
            key: one key is one chip.
            scope: the weights that share one compensation factor: those of a layer, a
                column, or a tile; `"none"` for no compensation.
            normalize: which weights share a full scale, see `mapping.normalized`.
            combine: which devices of a weight share an ADC conversion: `"analog"`
                (all), `"digital"` (one each), or the group of each device, such as (0,
                0, 1, 1) for pairs.
            ranges: from `calibrate`, for drift measurements.
            extrapolate: whether times may lie outside what the device's source covers.
            **options: keyword arguments of `apply`.

        Raises:
            ValueError: if a weight is not a parameter (`Rule.fold`), its axes are
                unknown, or an argument is out of range.
        """
        checks.word("scope", scope, Scope)
        _, builder, _, _, shapes = self._plan(params, inputs, options)
        found = report(shapes, builder)
        sites = {p: site for site in builder.sites[::-1] for p in site.layouts}
        layers = encode_weights(params, strategy, select=found, normalize=normalize)
        for layer in layers.values():
            membership(combine, layer.targets.shape[-1])
        return AnalogChip(
            params=params,
            device=device,
            programmed=program(device, layers, key=key),
            sites=sites,
            ranges=dict(ranges or {}),
            combine=combine,
            scope=scope,
            shifted=shifted(layers.values()),
            extrapolate=extrapolate,
        )

    def _plan(
        self,
        params: PyTree,
        inputs: tuple,
        options: dict[str, Any],
        held: Collection[str] = (),
    ) -> tuple[Plan, Builder, list[Any], Any, dict[str, tuple[int, ...]]]:
        """The plan for these arguments, and their arrays."""
        if isinstance(params, OnChip):
            remedy = "Pass `params.params`."
            checks.fail("params", "be trained ones here", "those of a chip", remedy)
        found = flattened(self.apply, params, inputs, options)
        jaxpr, consts, shape, arrays, shapes = found
        builder = Builder(self.rules, HANDLERS, held)
        marks = [self._mark(builder, path, shapes[path]) for path in shapes]
        marks += [None] * (len(arrays) - len(marks))
        plan = builder.walk(jaxpr, consts, marks)
        met = [path for site in builder.sites for path in site.layouts]
        check_held(held, met)
        if self.given:
            check_used(self.rules, list(shapes), builder.products, met, builder.reasons)
            check_tiles(report(shapes, builder), self.rules)
        return plan, builder, arrays, jax.tree.structure(shape), shapes

    def _mark(self, builder: Builder, path: str, shape: tuple[int, ...]) -> Mark:
        rule = first(self.rules, path, activations=False)
        if rule is not None and not rule.digital:
            return parameter(path, shape)
        why = "no rule" if rule is None else "rule"
        builder.explain((path,), why)
        return Folded((path,), why)
