"""Weights from files: what their own libraries wrote, and files that are wrong."""

import json
import pickle
import struct
import subprocess
import sys
import tracemalloc

import files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anajax
from anajax.interop import onnx, read
from anajax.interop.protobuf import SCHEMA


def write(kind, folder):
    library = {"gguf": "gguf", "onnx": "onnx"}.get(kind)
    if library:
        pytest.importorskip(library)
    return files.WRITERS[kind](folder)


@pytest.mark.parametrize("kind", ["safetensors", "index", "npz", "msgpack", "orbax"])
def test_arrays_are_those_that_were_written(kind, tmp_path):
    found = read(getattr(files, kind)(tmp_path))
    assert set(found) == set(files.ARRAYS)
    for name, array in files.ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_folder_stands_for_its_safetensors(tmp_path):
    files.index(tmp_path)
    assert set(read(tmp_path)) == set(files.ARRAYS)
    assert set(read(str(tmp_path), only="body/.*")) == {"body/kernel", "body/half"}


def test_axes_of_compressed_and_transposed_arrays(tmp_path):
    found = read(files.packed(tmp_path))
    np.testing.assert_array_equal(found["body/kernel"], files.KERNEL.T)


def test_bfloat16_and_no_copy(tmp_path):
    import jax.numpy as jnp
    from safetensors.flax import save_file

    save_file(
        {"w": jnp.asarray(files.KERNEL, jnp.bfloat16)}, tmp_path / "a.safetensors"
    )
    found = read(tmp_path / "a.safetensors")["w"]
    assert found.dtype == jnp.bfloat16 and not found.flags.owndata
    np.testing.assert_array_equal(found, files.KERNEL.astype(jnp.bfloat16))
    with pytest.raises(ValueError):
        found[0] = 1


def test_gguf_as_its_own_library_reads_it(tmp_path):
    path = write("gguf", tmp_path)
    gguf = pytest.importorskip("gguf")
    with pytest.warns(UserWarning, match=r"1 of 7 not read: Q5_0 \(Q5_0\)"):
        found = read(path)
    np.testing.assert_array_equal(found["count"], files.COUNT, strict=True)
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name not in ("Q5_0", "count"):
            want = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(found[tensor.name], want)


def test_onnx_initializers_raw_typed_and_beside(tmp_path):
    found = read(write("onnx", tmp_path))
    for name, array in (files.ARRAYS | {"beside": files.KERNEL}).items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_the_fields_of_onnx_are_those_of_its_own_definition():
    definition = pytest.importorskip("onnx.onnx_ml_pb2")
    for kind, fields in SCHEMA.items():
        owner = definition.TensorProto if kind == "Segment" else definition
        known = getattr(owner, kind).DESCRIPTOR.fields_by_number
        for number, (name, form) in fields.items():
            field = known[number]
            assert field.name == name
            assert field.is_repeated == form.endswith("*")
            if field.message_type:
                assert field.message_type.name == form.removesuffix("*")


@pytest.mark.parametrize(
    "name", [f"net.{end}" for end in "pt pth bin ckpt pkl pickle joblib".split()]
)
def test_no_pickle_is_opened(name, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="runs no code.*safetensors.torch.save_file"):
        read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_objects_in_npz_are_named_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", w=files.KERNEL, o=np.array([{}]), s=np.array(["x"]))
    with pytest.warns(UserWarning, match=r"2 of 3 not read: o .*object.*, s .*<U1"):
        assert set(read(tmp_path / "a.npz")) == {"w"}


@pytest.mark.parametrize("name", ["../out.safetensors", "/etc/passwd", "a\\..\\b", ""])
def test_no_path_leaves_its_folder(name, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    files.safetensors(tmp_path).rename(tmp_path / "out.safetensors")
    path = inner / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"body/kernel": name}}))
    with pytest.raises(ValueError, match="leaves its folder"):
        read(path)


def test_an_external_tensor_does_not_follow_a_link_out(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = write("onnx", inner)
    (inner / "net.data").rename(tmp_path / "net.data")
    (inner / "net.data").symlink_to(tmp_path / "net.data")
    with pytest.raises(ValueError, match="a link to elsewhere"):
        read(path)


def test_a_file_of_another_kind_or_none(tmp_path):
    for name, match in [("a.h5", "must end in one of"), ("b.npz", "can be read")]:
        with pytest.raises(ValueError, match=match):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="must be a folder of safetensors"):
        read(tmp_path)
    with pytest.raises(ValueError, match="`only` must be a regular expression"):
        read(files.npz(tmp_path), only="(")


def header(text):
    return struct.pack("<Q", len(text)) + text.encode()


HOSTILE = {
    "size.safetensors": struct.pack("<Q", 2**63),
    "deep.safetensors": header("[" * 99999),
    "twice.safetensors": header('{"a": 1, "a": 2}'),
    "axes.safetensors": header(
        '{"a": {"dtype": "F32", "shape": [0, 1e9], "data_offsets": [0, 0]}}'
    ),
    "wide.safetensors": header(
        '{"a": {"dtype": "F32", "shape": [%s0], "data_offsets": [0, 0]}}'
        % (31 * "9999999,")
    ),
    "both.safetensors": header(
        '{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},'
        ' "b": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}'
    )
    + b"123",
    "count.gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0),
    "pairs.gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
    "array.gguf": b"GGUF"
    + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 9, 2**40)
    + bytes(8),
    "deep.onnx": b"\x3a\x7f" * 4000,
    "size.onnx": b"\x3a" + b"\xff" * 9 + b"\x01",
    "nested.msgpack": b"\x91" * 5000,
    "long.msgpack": b"\xdd\xff\xff\xff\xff",
    "empty.npz": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_end_in_a_message(name, tmp_path):
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"`path` must name a whole, valid file: got"):
        read(tmp_path / name)


def test_an_orbax_folder_that_is_damaged(tmp_path):
    path = files.orbax(tmp_path)
    (path / "_METADATA").write_text("{")
    with pytest.raises(ValueError, match="`path` must name a whole, valid file"):
        read(path)


SPECIAL = [
    b"\xff" * 8,
    b"\x00" * 8,
    struct.pack("<Q", 2**40),
    b"\x7f",
    b"../",
    b"[" * 50,
]


@st.composite
def mutation(draw):
    """A kind of file, and what is done to its bytes."""
    kind = draw(st.sampled_from(sorted(files.WRITERS)))
    steps = st.tuples(
        st.sampled_from(["flip", "cut", "insert", "replace", "repeat"]),
        st.floats(0, 1) | st.floats(0, 0.05),
        st.integers(0, 255),
        st.sampled_from(SPECIAL),
    )
    return kind, draw(st.lists(steps, min_size=1, max_size=4))


def mutated(data, steps):
    for what, place, byte, special in steps:
        at = min(int(place * len(data)), len(data) - 1)
        if what == "flip":
            data = data[:at] + bytes([byte]) + data[at + 1 :]
        elif what == "cut":
            data = data[: max(at, 1)]
        elif what == "insert":
            data = data[:at] + special + data[at:]
        elif what == "replace":
            data = data[:at] + special + data[at + len(special) :]
        else:
            data = data[: at + byte] + data[at:]
    return data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    paths = {}
    for kind in files.WRITERS:
        try:
            paths[kind] = files.WRITERS[kind](folder)
        except ImportError:
            pass
    return {kind: (path, path.read_bytes()) for kind, path in paths.items()}


def mutate_and_read(written, kind, steps):
    if kind not in written:
        return
    path, good = written[kind]
    path.write_bytes(mutated(good, steps))
    tracemalloc.start()
    try:
        found = read(path)
        assert all(isinstance(a, np.ndarray) for a in found.values())
        if kind == "onnx":
            onnx(path)
    except ValueError as error:
        assert str(error).startswith("`path` must"), error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 20e6


def with_examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@pytest.mark.filterwarnings("ignore:.*not read")
@with_examples(50)
@given(mutation())
def test_mutated_files_end_in_a_message(written, mutation):
    mutate_and_read(written, *mutation)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not read")
@with_examples(1000)
@given(mutation())
def test_1000_mutated_files_end_in_a_message(written, mutation):
    mutate_and_read(written, *mutation)


def test_interop_is_imported_when_asked_for():
    code = "import sys, anajax; assert 'anajax.interop' not in sys.modules;"
    code += "anajax.interop.read; assert 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "interop" in dir(anajax)
