"""ML-KEM-768 encapsulation with given randomness (FIPS 203), for writing vectors again.

Slow, plain, and never for anything else: no library lets its caller choose the randomness.
What is written here is opened with a library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Q, N, K = 3329, 256, 3
DU, DV = 10, 4
PUBLIC_KEY_SIZE = 384 * K + 32

Polynomial = list[int]


def _reversed_bits(i: int) -> int:
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _reversed_bits(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed_bits(i) + 1, Q) for i in range(128)]


def encapsulate(public_key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Algorithm 17: the shared secret and the ciphertext."""
    if len(public_key) != PUBLIC_KEY_SIZE or len(message) != 32:
        raise ValueError("wrong length")
    seed = message + hashlib.sha3_256(public_key).digest()
    both = hashlib.sha3_512(seed).digest()
    return both[:32], _encrypt(public_key, message, both[32:])


def _encrypt(public_key: bytes, message: bytes, randomness: bytes) -> bytes:
    """Algorithm 14."""
    encoded = [public_key[384 * i : 384 * (i + 1)] for i in range(K)]
    t = [_unpacked(piece, 12) for piece in encoded]
    if any(value >= Q for row in t for value in row):
        raise ValueError("the public key is not reduced")
    rho = public_key[384 * K :]
    matrix = [[_sampled(rho + bytes([j, i])) for j in range(K)] for i in range(K)]
    y = [_ntt(_noise(randomness, i)) for i in range(K)]
    e1 = [_noise(randomness, K + i) for i in range(K)]
    e2 = _noise(randomness, 2 * K)
    u = [
        _sum(_inverse_ntt(_dot([matrix[j][i] for j in range(K)], y)), e1[i])
        for i in range(K)
    ]
    mu = [(Q + 1) // 2 * bit for bit in _unpacked(message, 1)]
    v = _sum(_sum(_inverse_ntt(_dot(t, y)), e2), mu)
    return b"".join(_packed(_compressed(row, DU), DU) for row in u) + _packed(
        _compressed(v, DV), DV
    )


def _packed(values: Sequence[int], width: int) -> bytes:
    number = sum(value << (width * i) for i, value in enumerate(values))
    return number.to_bytes(len(values) * width // 8, "little")


def _unpacked(data: bytes, width: int) -> Polynomial:
    number = int.from_bytes(data, "little")
    return [(number >> (width * i)) % (1 << width) for i in range(N)]


def _compressed(values: Sequence[int], width: int) -> Polynomial:
    return [((value << (width + 1)) + Q) // (2 * Q) % (1 << width) for value in values]


def _sampled(seed: bytes) -> Polynomial:
    """Algorithm 7: uniform, already transformed."""
    stream = hashlib.shake_128(seed).digest(3 * 168 * 3)
    values: Polynomial = []
    for at in range(0, len(stream), 3):
        a, b, c = stream[at : at + 3]
        values += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < Q]
    assert len(values) >= N
    return values[:N]


def _noise(seed: bytes, number: int) -> Polynomial:
    """Algorithm 8 with eta = 2."""
    bits = _bits(hashlib.shake_256(seed + bytes([number])).digest(64 * 2))
    return [
        (bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q
        for i in range(N)
    ]


def _bits(data: bytes) -> list[int]:
    return [byte >> i & 1 for byte in data for i in range(8)]


def _ntt(values: Polynomial) -> Polynomial:
    """Algorithm 9."""
    f, i, length = list(values), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def _inverse_ntt(values: Polynomial) -> Polynomial:
    """Algorithm 10."""
    f, i, length = list(values), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = zeta * (f[j + length] - t) % Q
        length *= 2
    return [value * 3303 % Q for value in f]


def _sum(one: Polynomial, other: Polynomial) -> Polynomial:
    return [(a + b) % Q for a, b in zip(one, other, strict=True)]


def _dot(row: Sequence[Polynomial], column: Sequence[Polynomial]) -> Polynomial:
    """Algorithms 11 and 12, summed over a row."""
    total = [0] * N
    for f, g in zip(row, column, strict=True):
        for i, gamma in enumerate(GAMMAS):
            a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
            total[2 * i] += a0 * b0 + a1 * b1 % Q * gamma
            total[2 * i + 1] += a0 * b1 + a1 * b0
    return [value % Q for value in total]
