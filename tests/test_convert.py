import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from layer_list import LAYERS

from anajax.crossbar import TileRule, periphery
from anajax.crossbar.periphery import IO
from anajax.nn.convert import functional, to_analog, to_digital
from anajax.transformation import Rule


class Net(nnx.Module):
    """Convolution, norm, embedding, tied layers and tied weights."""

    def __init__(self, rngs=None):
        rngs = rngs or nnx.Rngs(0)
        self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.embed = nnx.Embed(5, 6, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs)])
        self.again = self.blocks[0]
        self.twin = nnx.Linear(6, 6, rngs=rngs)
        self.twin.kernel = self.blocks[0].kernel

    def __call__(self, x, token):
        h = self.norm(self.conv(x)).mean((1, 2)) + self.embed(token)
        return self.twin(self.again(self.blocks[0](h)))


X, TOKEN = jr.normal(jr.key(0), (3, 4, 4, 2)), jnp.arange(3)
ALL = [Rule(".*", tiles=TileRule(rows=10, columns=4))]


def test_tied_stays_tied_and_the_original_is_untouched():
    net = Net()
    model, report = to_analog(net, ALL)
    assert model.again is model.blocks[0]
    assert model.twin.kernel is model.blocks[0].kernel
    assert model.conv.kernel is not net.conv.kernel
    assert type(net.conv) is nnx.Conv and "analog" not in vars(net.conv)
    got, expected = (jax.jit(m)(X, TOKEN) for m in (model, net))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    sizes = {r.path: r.tiles for r in report.layers if r.path != "again"}
    linear = (
        sizes.pop("blocks/0", None) or {r.path: r.tiles for r in report.layers}["again"]
    )
    assert linear == 2
    assert sizes == {"conv": 4, "norm": 0, "embed": 0, "twin": 2}
    assert report.tiles == 8
    assert "conv" in str(report) and "18 x 6 on 4 tiles" in str(report)


def test_parameters_keep_their_paths():
    params, _ = functional(Net())
    analog, _ = functional(to_analog(Net(), ALL).model)
    assert {p: {*v} for p, v in params.items()} == {p: {*v} for p, v in analog.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_to_digital_is_the_inverse(name):
    build, _ = LAYERS[name]
    layer = build(nnx.Rngs(1))
    holder = nnx.List([layer])
    back = to_digital(to_analog(holder, ALL).model)
    assert type(back[0]) is type(layer)
    (graph, state), (expected, kept) = nnx.split(back), nnx.split(holder)
    assert graph == expected
    assert all(map(jnp.array_equal, *map(jax.tree.leaves, (state, kept))))


def test_cells_go_there_and_back():
    holder = nnx.List([nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))])
    model, report = to_analog(holder, [Rule("0")])
    assert {r.path for r in report.analog} == {"0/dense_h", "0/dense_i"}
    assert type(to_digital(model)[0]) is nnx.GRUCell


def test_first_rule_counts_and_what_no_rule_covers_stays_digital():
    rules = [Rule("blocks|again|twin", digital=True), Rule("conv")]
    _, report = to_analog(Net(), rules)
    assert [r.path for r in report.analog] == ["conv"]
    assert {r.rule for r in report.layers} == {"conv", "blocks|again|twin", ""}


def test_a_rule_without_layers_is_an_error():
    with pytest.raises(ValueError, match="'encoder.*conv"):
        to_analog(Net(), [*ALL, Rule("encoder/.*")])


class Custom(nnx.Module):
    def __init__(self):
        self.matrix = nnx.Param(jnp.ones((2, 2)))


def test_a_layer_of_a_kind_not_known_is_named_unless_a_rule_keeps_it_digital():
    holder = nnx.List([Custom(), nnx.Linear(2, 2, rngs=nnx.Rngs(0))])
    with pytest.raises(ValueError, match="at '0', which holds weights.*anajax.analog"):
        to_analog(holder, ALL)
    _, report = to_analog(holder, [Rule("0", digital=True), *ALL])
    assert [r.path for r in report.analog] == ["1"]


class Subclass(nnx.Linear):
    def __call__(self, x):
        return -super().__call__(x)


def twice(*operands, **options):
    return 2 * jax.lax.dot_general(*operands, **options)


SPECIAL = {
    "subclass": (lambda r: Subclass(2, 2, rngs=r), (3, 2)),
    "own product": (lambda r: nnx.Linear(2, 2, dot_general=twice, rngs=r), (3, 2)),
    "circular": (
        lambda r: nnx.ConvTranspose(2, 2, (3,), padding="CIRCULAR", rngs=r),
        (3, 4, 2),
    ),
    "sum of inputs": (lambda r: nnx.Einsum("ab,bc->c", (2, 3), rngs=r), (3, 2)),
    "diagonal": (lambda r: nnx.Einsum("aa,ac->c", (2, 3), rngs=r), (2, 2)),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_layers_with_products_of_their_own_are_layers(kind):
    """Whatever the layer does around its product, and how it calls it."""
    build, shape = SPECIAL[kind]
    layer, x = build(nnx.Rngs(0)), jr.normal(jr.key(2), shape)
    model, report = to_analog(nnx.List([layer]), ALL)
    assert report.tiles > 0 and isinstance(model[0], type(layer))
    np.testing.assert_allclose(model[0](x), layer(x), rtol=1e-5, atol=1e-6)
    steps = Rule(".*", io=IO(adc=periphery.uniform(3, 0.5)))
    coarse = to_analog(layer, [steps]).model(x)
    assert jnp.max(jnp.abs(coarse - layer(x))) > 0.01


@pytest.mark.parametrize(
    "layer",
    [
        lambda r: nnx.Einsum("ab,cd->abcd", (2, 2), rngs=r),
        lambda r: nnx.Linear(2, 2, dot_general=lambda *a, **k: 0 * a[0], rngs=r),
    ],
)
def test_a_layer_without_a_product_is_refused(layer):
    holder = nnx.List([layer(nnx.Rngs(0))])
    with pytest.raises(ValueError, match="a weight in a product: got none.*0/kernel"):
        to_analog(holder, ALL)


def test_more_tiles_than_allowed():
    rule = Rule(".*", tiles=TileRule(rows=10, columns=4), max_tiles=3)
    with pytest.raises(ValueError, match="4 for 1 matrices of 18 x 6 in 'conv'"):
        to_analog(Net(), [rule])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"path": "("}, "path"),
        ({"normalize": "row"}, "normalize"),
        ({"max_tiles": 0}, "max_tiles"),
        ({"patches": 0}, "patches"),
    ],
)
def test_rules_are_checked(fields, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        Rule(**({"path": ".*"} | fields))


@pytest.mark.parametrize("name", ["fold", "activations"])
def test_what_layers_cannot_do_is_refused(name):
    rule = Rule(".*", **{name: True})
    with pytest.raises(ValueError, match=f"`{name}` must be false for layers"):
        to_analog(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), [rule])
