"""The public names: few, documented, their examples run; former names say what is."""

import doctest
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx

import anajax
from anajax import devices, strategies
from anajax.crossbar import periphery

PUBLIC = [n for n in anajax.__all__ if not inspect.ismodule(getattr(anajax, n))]


@pytest.fixture(scope="module")
def around():
    """What the examples find around them."""
    device = devices.pcm()
    weights = np.random.default_rng(0).normal(size=(6, 4))
    params = {"kernel": jnp.asarray(weights, jnp.float32), "bias": jnp.zeros(4)}
    return {
        "anajax": anajax, "jax": jax, "jnp": jnp, "np": np, "devices": devices,
        "strategies": strategies, "periphery": periphery, "device": device,
        "strategy": strategies.lsp_first(device), "params": params,
        "density": anajax.weight_density(params), "times": [1.0, 86400.0],
        "key": jax.random.key(0), "x": jnp.ones((8, 6)), "y": jnp.ones((8, 4)),
        "apply": lambda p, x: jnp.tanh(x @ p["kernel"] + p["bias"]),
        "model": nnx.Linear(6, 4, rngs=nnx.Rngs(0)),
    }  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_of_public_names_run(name, around, tmp_path):
    text = inspect.getdoc(getattr(anajax, name))
    globs = around | {"path": tmp_path / "file"}
    example = doctest.DocTestParser().get_doctest(text, globs, name, None, None)
    assert example.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = []
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def test_there_are_at_most_45_names_and_all_are_there():
    assert len(anajax.__all__) <= 45
    assert anajax.__all__ == sorted(anajax.__all__)
    assert set(anajax.__all__) <= set(dir(anajax))


def test_no_function_hides_a_module():
    found = []
    for info in pkgutil.walk_packages(anajax.__path__, "anajax."):
        parent, _, name = info.name.rpartition(".")
        importlib.import_module(info.name)
        if not inspect.ismodule(getattr(importlib.import_module(parent), name)):
            found.append(info.name)
    assert not found


@pytest.mark.parametrize("name", anajax._FORMER)
def test_former_names_say_what_to_call(name):
    since, now = anajax._FORMER[name]
    assert since >= "2026-01-01"
    with pytest.raises(AttributeError, match="is gone since 20.*use anajax"):
        getattr(anajax, name)
    path = now.split("(")[0].split(".")
    value = anajax
    for part in path:
        value = getattr(value, part)
    assert callable(value)


def test_the_version_and_the_checks_stand_in_one_place():
    """pyproject reads the version; pre-commit and nox run what CI runs."""
    root = Path(anajax.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    where = project["tool"]["hatch"]["version"]
    source = (root / where["path"]).read_text()
    assert re.search(where["pattern"], source)["version"] == anajax.__version__
    checked = (root / ".ci" / "run").read_text()
    (repo,) = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]:
        assert hook["entry"].removesuffix(" --force-exclude") in checked
    text, classifiers = (root / "noxfile.py").read_text(), project["project"]
    named = re.findall(r"3\.1\d", "".join(classifiers["classifiers"]))
    assert named and all(f'"{version}"' in text for version in named)
