"""BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) in plain Python.

A report has up to 1024 chunks of 1024 bytes, which are hashed independently. Word by word, this module puts the words
of all chunks into one big integer, 64 bits for each, and works on all of them with one operation. So a report of 1 MiB
takes about 0.2 seconds; a loop over the chunks would take many times as long.
"""

from __future__ import annotations

import struct
from typing import List, Sequence, Tuple

CHUNK, BLOCK, WORDS = 1024, 64, 16  # bytes, bytes, words of a block
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
START, END, PARENT, ROOT = 1, 2, 4, 8  # flags
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)  # of the words in the next round
# Which four words of the state each quarter of a round mixes: columns, then diagonals.
QUARTERS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)

Node = Tuple[int, ...]  # eight words: the value of a chunk, or of two nodes together


def hash_hex(data: bytes) -> str:
    """The hash of `data`, 32 bytes in hex. `data` has less than 4 TiB."""
    whole = max(len(data) - 1, 0) // CHUNK  # the last chunk may be short, and is never empty unless all is
    nodes = _chunks(data[: whole * CHUNK], 0, 0) if whole else []
    nodes += _chunks(data[whole * CHUNK :], whole, ROOT if whole == 0 else 0)
    while len(nodes) > 1:
        nodes = _parents(nodes)
    return struct.pack("<8I", *nodes[0]).hex()


def _chunks(data: bytes, first: int, last_flag: int) -> List[Node]:
    """The nodes of chunks of equal length: many whole ones, or a single one. `first` is the number of the first."""
    lanes = max(len(data) // CHUNK, 1)
    length = len(data) // lanes
    blocks = max(-(-length // BLOCK), 1)
    padded = data.ljust(lanes * blocks * BLOCK, b"\0")
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    value = [_spread(word, lanes) for word in IV]
    counter = _pack(range(first, first + lanes))
    for block in range(blocks):
        flags = (START if block == 0 else 0) | (END | last_flag if block == blocks - 1 else 0)
        message = [_pack(words[block * WORDS + word :: blocks * WORDS]) for word in range(WORDS)]
        size = min(length - block * BLOCK, BLOCK)
        value = _compress(value, message, counter, size, flags, lanes)
    return _nodes(value, lanes)


def _parents(nodes: Sequence[Node]) -> List[Node]:
    """One node for each two. A node that is left over goes up as it is."""
    lanes = len(nodes) // 2
    left, right = nodes[0 : 2 * lanes : 2], nodes[1 : 2 * lanes : 2]
    message = [_pack([node[word] for node in side]) for side in (left, right) for word in range(8)]
    flags = PARENT | (ROOT if len(nodes) == 2 else 0)
    value = _compress([_spread(word, lanes) for word in IV], message, 0, BLOCK, flags, lanes)
    return _nodes(value, lanes) + list(nodes[2 * lanes :])


def _compress(value: List[int], message: List[int], counter: int, size: int, flags: int, lanes: int) -> List[int]:
    """Mixes a block of each lane into the lane's value."""
    low = _spread(0xFFFFFFFF, lanes)

    def turned(word: int, bits: int) -> int:
        return (word >> bits | word << (32 - bits)) & low

    v = value + [_spread(word, lanes) for word in IV[:4]] + [counter, 0, _spread(size, lanes), _spread(flags, lanes)]
    for _ in range(7):
        for quarter, (a, b, c, d) in enumerate(QUARTERS):
            for word, first, second in ((message[2 * quarter], 16, 12), (message[2 * quarter + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & low
                v[d] = turned(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & low
                v[b] = turned(v[b] ^ v[c], second)
        message = [message[word] for word in ORDER]
    return [v[word] ^ v[word + 8] for word in range(8)]


def _pack(words: Sequence[int]) -> int:
    """One integer with a word in each 64 bits."""
    return int.from_bytes(struct.pack(f"<{len(words)}Q", *words), "little")


def _spread(word: int, lanes: int) -> int:
    """The same word in every lane."""
    return word * (((1 << 64 * lanes) - 1) // ((1 << 64) - 1)) if lanes > 1 else word


def _nodes(value: Sequence[int], lanes: int) -> List[Node]:
    """The eight words of each lane."""
    columns = [struct.unpack(f"<{lanes}Q", word.to_bytes(8 * lanes, "little")) for word in value]
    return list(zip(*columns))
