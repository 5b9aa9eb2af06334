#!/usr/bin/env python3
"""Makes succession-v1.json: vault keys that follow one another, and what does not hold, from FORMAT.md, hashlib and RFC 8032 alone."""

import base64
import hashlib
import json
import os

from signing import public_key, sign

SEEDS = [bytes([n] * 32) for n in range(1, 19)]
KEYS = [public_key(seed) for seed in SEEDS]
LABEL = b"strongroom/v1/vault-key\x00"


def fingerprint(key):
    spki = bytes.fromhex("302a300506032b6570032100") + key
    return "SHA256:" + base64.b64encode(hashlib.sha256(spki).digest()).decode().rstrip("=")


def step(old, new, signer=None):
    body = KEYS[old] + KEYS[new]
    return body + sign(SEEDS[old if signer is None else signer], LABEL + body)


def vector(name, steps, pinned, newest):
    return {
        "name": name,
        "steps": [step.hex() for step in steps],
        "uri": "strongroom:succession:" + "".join(step.hex() for step in steps),
        "pinned": fingerprint(KEYS[pinned]),
        "newest": None if newest is None else KEYS[newest].hex(),
    }


def vectors():
    two = [step(0, 1), step(1, 2)]
    yield vector("one step", [step(0, 1)], 0, 1)
    yield vector("two steps, from the first", two, 0, 2)
    yield vector("two steps, from the second", two, 1, 2)
    yield vector("two steps, from the last: there is nothing to follow", two, 2, None)
    yield vector("a key that is none of them", two, 3, None)
    yield vector("sixteen steps", [step(n, n + 1) for n in range(16)], 0, 16)
    yield vector("a step is missing", [step(0, 1), step(2, 3)], 0, None)
    yield vector("a step is missing before the pinned key", [step(0, 1), step(2, 3)], 2, 3)
    yield vector("steps in the wrong order", [step(1, 2), step(0, 1)], 0, 1)
    yield vector("signed by the new key", [step(0, 1, signer=1)], 0, None)
    yield vector("signed by another key", [step(0, 1), step(1, 2, signer=5)], 0, None)
    other = step(0, 1)
    yield vector("the signature of another step", [step(0, 2)[:64] + other[64:]], 0, None)
    body = KEYS[0] + KEYS[1]
    yield vector("signed without its label", [body + sign(SEEDS[0], body)], 0, None)
    yield vector("signed with a session's label", [body + sign(SEEDS[0], b"strongroom/v1/session\x00" + body)], 0, None)
    s = int.from_bytes(other[96:], "little") + 2**252 + 27742317777372353535851937790883648493
    yield vector("a signature whose s is not reduced", [other[:96] + s.to_bytes(32, "little")], 0, None)


ABOUT = (
    "strongroom vault keys, one after the other, format 1: the steps, how a certificate shows them, and whom somebody comes to who pins "
    "a key; null is nobody. Byte strings are hex; the keys are of no other use."
)
path = os.path.join(os.path.dirname(__file__), "succession-v1.json")
many = [step(n, n + 1).hex() for n in range(17)]
with open(path, "w", encoding="utf-8") as file:
    json.dump({"about": ABOUT, "successions": list(vectors()), "too_many": many}, file, indent=1)
    file.write("\n")
