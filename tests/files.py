"""Files of every format that is read, written by their own libraries, for tests."""

import json

import numpy as np

RNG = np.random.default_rng(7)
KERNEL = RNG.normal(size=(64, 32)).astype(np.float32)
HALF = RNG.normal(size=(3, 5)).astype(np.float16)
COUNT = np.arange(4)
ARRAYS = {"body/kernel": KERNEL, "body/half": HALF, "count": COUNT}


def safetensors(folder):
    from safetensors.numpy import save_file

    save_file(ARRAYS, folder / "net.safetensors")
    return folder / "net.safetensors"


def index(folder):
    from safetensors.numpy import save_file

    places = {"body/kernel": "a-1.safetensors", "body/half": "a-2.safetensors"}
    places["count"] = "a-2.safetensors"
    for place in set(places.values()):
        part = {k: ARRAYS[k] for k in places if places[k] == place}
        save_file(part, folder / place)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def npz(folder):
    np.savez(folder / "net.npz", **ARRAYS)
    return folder / "net.npz"


def packed(folder):
    np.savez_compressed(folder / "packed.npz", **ARRAYS | {"body/kernel": KERNEL.T})
    return folder / "packed.npz"


def msgpack(folder):
    from flax.serialization import msgpack_serialize

    tree = {"body": {"kernel": KERNEL, "half": HALF}, "count": COUNT}
    (folder / "net.msgpack").write_bytes(msgpack_serialize(tree))
    return folder / "net.msgpack"


def gguf(folder):
    """Metadata of several types, plain and quantized tensors."""
    import gguf

    writer = gguf.GGUFWriter(folder / "net.gguf", "llama")
    writer.add_array("words", ["a", "bc"])
    writer.add_float32("scale", 0.5)
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0"):
        kind = gguf.GGMLQuantizationType[kind]
        raw = gguf.quants.quantize(KERNEL, kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "net.gguf"


def onnx(folder):
    """Raw, typed and external initializers."""
    import onnx
    from onnx import helper, numpy_helper

    held = [numpy_helper.from_array(a, name) for name, a in ARRAYS.items()]
    held[1] = helper.make_tensor("body/half", 10, HALF.shape, HALF.ravel().tolist())
    held[2] = helper.make_tensor("count", 7, COUNT.shape, COUNT.tolist())
    beside = numpy_helper.from_array(KERNEL, "beside")
    onnx.external_data_helper.set_external_data(beside, "net.data")
    (folder / "net.data").write_bytes(beside.raw_data)
    beside.ClearField("raw_data")
    x, y = (helper.make_tensor_value_info(n, 1, [None, 32]) for n in "xy")
    x.type.tensor_type.shape.dim[1].dim_value = 64
    node = helper.make_node("MatMul", ["x", "body/kernel"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [*held, beside])
    (folder / "net.onnx").write_bytes(
        helper.make_model(graph, ir_version=10).SerializeToString()
    )
    return folder / "net.onnx"


def orbax(folder):
    import orbax.checkpoint as ocp

    tree = {"body": {"kernel": KERNEL, "half": HALF}, "count": COUNT}
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(folder / "saved", tree)
    return folder / "saved"


WRITERS = {
    "safetensors": safetensors,
    "index": index,
    "npz": npz,
    "packed": packed,
    "msgpack": msgpack,
    "gguf": gguf,
    "onnx": onnx,
}
