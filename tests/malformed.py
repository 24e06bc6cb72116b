"""Input that is wrong somewhere: valid documents with a mistake put in, for tests."""

import copy
import json

from hypothesis import strategies as st

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**9), 2**63]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["nan", "1e999", "../..", "a\nb", "\x00", "0 s", "{}", "inf"]),
    st.lists(st.one_of(st.floats(), st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(-1, 1), max_size=2),
    st.builds(lambda: [[[]]]),
    st.builds(lambda: [[1.0], [2.0, 3.0]]),
)


def places(document, prefix=()):
    """Paths of everything in nested mappings and lists."""
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    found = [prefix] if prefix else []
    for key, value in items:
        found += places(value, (*prefix, key))
    return found


@st.composite
def mistaken(draw, document):
    """The document with one to three places replaced, removed, or added to."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(document)))
        here = document
        for key in way:
            here = here[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if kind == "replace":
            here[last] = draw(JUNK)
        elif kind == "remove":
            del here[last]
        elif isinstance(here, dict):
            here[draw(st.text(max_size=6))] = draw(JUNK)
        else:
            here.insert(last, draw(JUNK))
        if not places(document):
            break
    return document


@st.composite
def damaged(draw, content):
    """Bytes that were cut, changed, or put in place of `content`."""
    kind = draw(st.sampled_from(["cut", "cut", "flip", "noise", "empty", "twice"]))
    if kind == "cut":
        return content[: draw(st.integers(0, max(0, len(content) - 1)))]
    if kind == "flip":
        place = draw(st.integers(0, max(0, len(content) - 1)))
        changed = draw(st.integers(1, 255)) ^ content[place]
        return content[:place] + bytes([changed]) + content[place + 1 :]
    return {
        "noise": draw(st.binary(max_size=200)),
        "empty": b"",
        "twice": content + content,
    }[kind]


def text_of(document):
    """JSON, with NaN and infinity as Python writes them."""
    return json.dumps(document)


DEEP = {
    "deep list": "[" * 20_000,
    "deep mapping": '{"a":' * 20_000,
    "deep yaml": "- " * 5_000 + "1",
    "laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n"
        for i in range(8)
    ),
    "long number": "1" * 5000,
}
"""Documents that exhaust readers which do not expect them."""
