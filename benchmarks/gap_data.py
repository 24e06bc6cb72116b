"""Small data for `gap.py`: whole test sets and parts of training splits."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np


def pack(data: Path, to: Path) -> None:
    """Make a data folder below 25 MB: whole test sets and parts of training splits."""
    to.mkdir(parents=True, exist_ok=True)
    if (data / "tinyshakespeare").is_dir():
        place = to / "tinyshakespeare"
        place.mkdir(exist_ok=True)
        shutil.copy(data / "tinyshakespeare" / "input.txt.gz", place)
    for folder, make in (
        ("fsdd", pack_fsdd),
        ("speech_commands_test", pack_keywords),
        ("fashion-mnist", pack_fashion),
    ):
        if (data / folder).is_dir():
            (to / folder).mkdir(exist_ok=True)
            make(data / folder, to / folder)
    sizes = {
        path.name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e6
        for path in sorted(to.iterdir())
    }
    print(json.dumps({k: round(v, 2) for k, v in sizes.items()}), "MB")
    print(f"{sum(sizes.values()):.1f} MB total")


TAKES = 13
"""Recordings per speaker and digit; the first 5 are the test set."""


def pack_fsdd(given: Path, to: Path) -> None:
    """The first recordings of each speaker and digit."""
    with np.load(given / "fsdd_8k.npz") as file:
        clips = np.split(file["audio"], file["offset"][1:-1])
        keep = np.flatnonzero(file["index"] < TAKES)
        some = [clips[i] for i in keep]
        np.savez_compressed(
            to / "fsdd_8k.npz",
            audio=np.concatenate(some),
            offset=np.cumsum([0, *map(len, some)]),
            label=file["label"][keep],
            index=file["index"][keep],
        )


TRAINING_CLIPS = 1400


def pack_keywords(given: Path, to: Path) -> None:
    """All clips of the test speakers, some of the others, and the two networks."""
    import zlib

    with np.load(given / "gsc_v2_test_logmel40.npz") as file:
        data = dict(file)
    speakers = [
        str(n).rpartition("/")[2].partition("_nohash_")[0] for n in data["name"]
    ]
    train = np.array([zlib.crc32(s.encode()) % 2 == 0 for s in speakers])
    order = np.random.default_rng(0).permutation(np.flatnonzero(train))
    keep = np.sort([*np.flatnonzero(~train), *order[:TRAINING_CLIPS]])
    some = {k: v[keep] if len(v) == len(train) else v for k, v in data.items()}
    np.savez_compressed(to / "gsc_v2_test_logmel40.npz", **some)
    for name in ("lstm_s.npz", "lstm_l.npz"):
        shutil.copy(given / name, to / name)


IMAGES = {"train": 2000, "t10k": 5000}


def pack_fashion(given: Path, to: Path) -> None:
    """The first images of both splits, in the original file format."""
    for part, count in IMAGES.items():
        for kind, header, each in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            name = f"{part}-{kind}-ubyte.gz"
            data = gzip.decompress((given / name).read_bytes())
            head = bytearray(data[:header])
            head[4:8] = count.to_bytes(4, "big")
            content = bytes(head) + data[header : header + count * each]
            (to / name).write_bytes(gzip.compress(content, 9, mtime=0))
