"""Chip images that were damaged end in a message, whatever byte it is."""

import hashlib
import shutil

import h5py
import pytest
import test_image
from hypothesis import given, settings
from hypothesis import strategies as st

from anajax.interop import image

STORAGE, changed = test_image.STORAGE, test_image.changed
study, made = test_image.study, test_image.made  # fixtures


@pytest.fixture(scope="module")
def three(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    for storage in STORAGE:
        image.write(made, folder / storage, storage)
    return folder


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), storage=st.sampled_from(STORAGE))
def test_damaged_images_end_in_a_message(three, data, storage, tmp_path_factory):
    """Any byte of any file, with digests made right again."""
    damage(three, data, storage, tmp_path_factory)


def damage(three, data, storage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "image"
    shutil.copytree(three / storage, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "double", "drop"]))
    if how == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[at:]
    elif how == "double":
        content[at:at] = content[at : at + 40]
    else:
        del content[at : at + 3]
    file.write_bytes(content)
    if file.name != "manifest.json":
        name = file.relative_to(folder).as_posix()
        digest = hashlib.sha256(content).hexdigest()
        changed(folder, lambda m: m["files"].update({name: digest}))
    try:
        image.read(folder)
    except ValueError as error:
        assert str(error).startswith("`")


def test_a_damaged_name_in_hdf5_ends_in_a_message(three, tmp_path):
    """h5py then fails to decode its own message."""
    shutil.copytree(three / "hdf5", tmp_path / "image")
    (file,) = (tmp_path / "image").rglob("*.h5*")
    content = file.read_bytes()
    with h5py.File(file) as opened:
        link = next(iter(opened)).encode()
    content = content.replace(link + b"\0", b"\xb0" + link[1:] + b"\0")
    file.write_bytes(content)
    name = file.relative_to(tmp_path / "image").as_posix()
    digest = hashlib.sha256(content).hexdigest()
    changed(tmp_path / "image", lambda m: m["files"].update({name: digest}))
    with pytest.raises(ValueError, match="`path` must"):
        image.read(tmp_path / "image")


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(data=st.data(), storage=st.sampled_from(STORAGE))
def test_1000_damaged_images_end_in_a_message(three, data, storage, tmp_path_factory):
    """The same, other damages at each run."""
    damage(three, data, storage, tmp_path_factory)
