"""Random words of anajax' keys as bytes on standard output, without end.

python words.py words      draws of one key after the other
python words.py streams    words of 48 keys in turn: chips, layers and stages
"""

import signal
import sys

import jax
import jax.numpy as jnp
import jax.random as jr

import anajax
from anajax.rng import Stage, path_key, stream

SIZE = 2**20
KEY = anajax.key(20220613)
CHIPS = 4
PATHS = ("encoder/0/kernel", "encoder/1/kernel", "decoder/kernel")
STAGES = (Stage.PROGRAM, Stage.FREEZE, Stage.READ, Stage.PRODUCT)


@jax.jit
def words(turn: jax.Array) -> jax.Array:
    """One large draw of the read-out of a number, row by row."""
    return jr.bits(stream(KEY, Stage.TIME, turn), (1024, SIZE // 1024), jnp.uint32)


@jax.jit
def streams(turn: jax.Array) -> jax.Array:
    """First words of all keys of a read-out, then second words, and so on."""
    chips = [stream(KEY, Stage.CHIP, i) for i in range(CHIPS)]
    keys = [path_key(chip, path) for chip in chips for path in PATHS]
    keys = jnp.stack([stream(key, stage, turn) for key in keys for stage in STAGES])
    rows = SIZE // len(keys) // 64
    draw = jax.vmap(lambda key: jr.bits(key, (rows, 64), jnp.uint32).ravel())
    return draw(keys).T.ravel()


def main() -> None:
    """Write until nobody reads."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    make = {"words": words, "streams": streams}[sys.argv[1]]
    turn, ahead = 0, make(jnp.uint32(0))
    while True:
        block, ahead = ahead, make(jnp.uint32(turn + 1))
        sys.stdout.buffer.write(memoryview(jax.device_get(block)))
        turn += 1


if __name__ == "__main__":
    main()
