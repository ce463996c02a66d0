"""Computes CRC-32C (Castagnoli), the checksum of TensorFlow's files, in numpy.

The bytes are cut into lanes of equal length, which numpy's operations go through side by side. The checksums of the
lanes are then joined: the checksum of A and B together is that of A moved on by the length of B, XOR that of B.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, with its bits in reverse.
_LANES = 1024
_MASK_DELTA = 0xA282EAD8  # TensorFlow stores checksums rotated by 15 bits, plus this number.


def crc32c(data: bytes | memoryview) -> int:
    """Returns the CRC-32C of bytes."""
    values = np.frombuffer(data, np.uint8)
    length = len(values) // _LANES
    state = 0xFFFFFFFF
    if length:
        lanes = values[: length * _LANES].reshape(_LANES, length)
        state = _joined(state, _lane_states(lanes), length)
    for value in values[length * _LANES :].tolist():
        state = int(_table()[(state ^ value) & 0xFF]) ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def unmasked(stored: int) -> int:
    """Returns the checksum that TensorFlow stored in its masked form."""
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _lane_states(lanes: np.ndarray) -> list[int]:
    """Returns the state after each lane [lanes, bytes], each begun at 0."""
    columns = np.ascontiguousarray(lanes.T)
    states = np.zeros(len(lanes), np.uint32)
    for column in columns:
        states = _table()[(states ^ column) & 0xFF] ^ (states >> np.uint32(8))
    return [int(state) for state in states]


def _joined(state: int, lane_states: list[int], length: int) -> int:
    """Returns the state after all lanes of `length` bytes. state: before the first one."""
    moves = _moves(length)
    for lane_state in lane_states:
        state = _moved(state, moves) ^ lane_state
    return state


def _moved(state: int, moves: list[list[int]]) -> int:
    return moves[0][state & 255] ^ moves[1][state >> 8 & 255] ^ moves[2][state >> 16 & 255] ^ moves[3][state >> 24]


@functools.lru_cache(maxsize=64)
def _moves(length: int) -> list[list[int]]:
    """Returns what `length` zero bytes make of a state, as four tables, one for each of its bytes."""
    bits = _squared_moves(length)
    tables = []
    for first in (0, 8, 16, 24):
        table = [0] * 256
        for value in range(1, 256):
            low = (value & -value).bit_length() - 1
            table[value] = table[value & (value - 1)] ^ bits[first + low]
        tables.append(table)
    return tables


def _squared_moves(length: int) -> list[int]:
    """Returns the states that the 32 single bits become after `length` zero bytes, by repeated squaring."""
    result = [1 << bit for bit in range(32)]
    step = [int(_table()[1 << bit]) if bit < 8 else 1 << (bit - 8) for bit in range(32)]  # One zero byte.
    while length:
        if length & 1:
            result = [_applied(step, column) for column in result]
        step = [_applied(step, column) for column in step]
        length >>= 1
    return result


def _applied(matrix: list[int], state: int) -> int:
    total, bit = 0, 0
    while state:
        if state & 1:
            total ^= matrix[bit]
        state, bit = state >> 1, bit + 1
    return total


@functools.cache
def _table() -> np.ndarray:
    """Returns the state that each byte makes of 0, uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)
