"""A large file in parts, and back: where only so much goes at once.

    python benchmarks/file_parts.py split FILE --out DIR    # FILE.0, FILE.1, ...
    python benchmarks/file_parts.py join FILE --parts DIR   # checked by its SHA-256

The hash is in the file FILE.sha256 beside the parts.
"""

import argparse
import hashlib
from pathlib import Path

MOST = 55_000_000
"""Bytes of a part."""


def split(file, out):
    """Write the parts of a file, and its hash."""
    content = file.read_bytes()
    out.mkdir(parents=True, exist_ok=True)
    for i, start in enumerate(range(0, len(content), MOST)):
        (out / f"{file.name}.{i}").write_bytes(content[start : start + MOST])
    (out / f"{file.name}.sha256").write_text(hashlib.sha256(content).hexdigest())


def join(file, parts):
    """Write a file from all of its parts."""
    count = len(list(parts.glob(f"{file.name}.[0-9]*")))
    read = [(parts / f"{file.name}.{i}").read_bytes() for i in range(count)]
    content = b"".join(read)
    if hashlib.sha256(content).hexdigest() != _hash(file, parts):
        raise SystemExit(f"{file.name}: the {count} parts in {parts} are not the file")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _hash(file, parts):
    return (parts / f"{file.name}.sha256").read_text().strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=Path("parts"))
    parser.add_argument("--parts", type=Path, default=Path("parts"))
    options = parser.parse_args()
    if options.what == "split":
        split(options.file, options.out)
    else:
        join(options.file, options.parts)


if __name__ == "__main__":
    main()
