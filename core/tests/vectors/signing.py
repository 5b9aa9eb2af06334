"""Ed25519 signatures as RFC 8032 writes them down, for the programs that make vectors."""

import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../log"))
import verify_log as log


def compress(point):
    inverse = pow(point[2], log.P - 2, log.P)
    x, y = point[0] * inverse % log.P, point[1] * inverse % log.P
    return int.to_bytes(y | ((x & 1) << 255), 32, "little")


def secret(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def public_key(seed):
    return compress(log.multiply(secret(seed)[0], log.G))


def sign(seed, message):
    scalar, prefix = secret(seed)
    public = public_key(seed)
    number = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % log.Q
    r = number(prefix, message)
    point = compress(log.multiply(r, log.G))
    return point + int.to_bytes((r + number(point, public, message) * scalar) % log.Q, 32, "little")
