"""Text to tokens: byte-pair encoding of words, which a pattern cuts from the text.

Each byte has a printable character; a word is a string of these, whose neighbors are
joined in the order in which the merges were learned (Sennrich et al., 2016; GPT-2).
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anajax._core import checks

DIGITS = ("smollm", "starcoder", "refact", "command-r")
"""GGUF tokenizers that split numbers into digits, and otherwise words like GPT-2."""
WORDS = ("gpt-2", "gpt2", "default")
"""GGUF tokenizers that split words like GPT-2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A vocabulary and its merges.

    Example:
        >>> pieces = Tokenizer(vocabulary=["a", "b", "ab"], merges=["a b"])
        >>> pieces.encode("abba").tolist(), pieces.decode([2, 1, 0])
        ([2, 1, 0], 'abba')
    """

    vocabulary: Sequence[str]
    """Tokens, written with the printable character of each byte."""
    merges: Sequence[str]
    """Pairs of tokens to join, such as `"t h"`, in the order they were learned."""
    single_digits: bool = False
    """Whether each digit is a separate word."""

    @classmethod
    def of_gguf(cls, metadata: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer of a GGUF file, from `interop.gguf_file.metadata`.

        Raises:
            ValueError: if it is of another kind.
        """
        model, kind = (metadata.get(f"tokenizer.ggml.{k}") for k in ("model", "pre"))
        if model != "gpt2" or (kind or "default") not in (*DIGITS, *WORDS):
            rule = f"have a tokenizer of gpt2 cut as {', '.join((*DIGITS, *WORDS))}"
            remedy = "Tokenize elsewhere, and pass the tokens."
            checks.fail("path", rule, f"{model!r:.40}, {kind!r:.40}", remedy)
        return cls(
            vocabulary=metadata["tokenizer.ggml.tokens"],
            merges=metadata["tokenizer.ggml.merges"],
            single_digits=kind in DIGITS,
        )

    def encode(self, text: str) -> np.ndarray:
        """Tokens `int32 [n]` of a text.

        Raises:
            ValueError: if a character has no token.
        """
        known, found = {}, []
        for word in words(text, single_digits=self.single_digits):
            if word not in known:
                known[word] = self._joined(word)
            found += known[word]
        return np.array(found, np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens; invalid bytes become question marks."""
        back = {c: b for b, c in BYTES.items()}
        joined = "".join(self.vocabulary[int(token)] for token in tokens)
        return bytes(back[c] for c in joined).decode(errors="replace")

    def _joined(self, word: str) -> list[int]:
        parts = [BYTES[b] for b in word.encode()]
        ranks = self._ranks
        while len(parts) > 1:
            pairs = [ranks.get(pair, LAST) for pair in zip(parts, parts[1:])]  # noqa: B905
            best = min(pairs)
            if best == LAST:
                break
            i = pairs.index(best)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        missing = [p for p in parts if p not in self._index]
        if missing:
            rule, remedy = "hold known characters", "Leave them out."
            checks.fail("text", rule, f"{missing[0]!r} in {word!r:.40}", remedy)
        return [self._index[p] for p in parts]

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}

    @functools.cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        pairs = (merge.split(" ") for merge in self.merges)
        return {(left, right): i for i, (left, right) in enumerate(pairs)}


def words(text: str, *, single_digits: bool = False) -> list[str]:
    """The words that GPT-2 splits a text into, with all characters in order.

    Contractions; letters, numbers, or others with one space before; and white space,
    whose last space belongs to the next word.

    Args:
        text: any text.
        single_digits: whether each numeric character is a separate word.
    """
    kinds = {c: unicodedata.category(c)[0] for c in set(text)}
    letters, numbers = (
        _class(c for c, kind in kinds.items() if kind == wanted) for wanted in "LN"
    )
    pattern = re.compile(
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?{letters}+| ?{numbers}+"
        rf"| ?(?:(?!{letters}|{numbers})\S)+|\s+(?!\S)|\s+"
    )
    parts = re.split(f"({numbers})", text) if single_digits else [text]
    return [word for part in parts for word in pattern.findall(part)]


def _class(characters: Any) -> str:
    inside = "".join(map(re.escape, sorted(characters)))
    return f"[{inside}]" if inside else "(?!)"


def _bytes() -> dict[int, str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    moved = {b: chr(256 + i) for i, b in enumerate(others)}
    return {b: chr(b) for b in plain} | moved


BYTES = _bytes()
"""The printable character of each byte; printable bytes represent themselves."""
LAST = 2**31
"""Rank of a pair that is not joined."""
