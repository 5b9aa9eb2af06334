#!/usr/bin/env python3
"""Makes log-v1.json: logs as files, with proofs and a signed checkpoint, from the specifications and hashlib alone.

Entry i is the text "entry <i>", its private part "private <i>", or empty where i is a multiple of 7. It is no code of the
project's: the tree is RFC 6962's recursion, as ../log/verify_log.py writes it down, and signing is RFC 8032's.
"""

import base64
import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../log"))
import verify_log as log
from signing import public_key, sign

SEED = bytes([0x55] * 32)
ORIGIN = "vault.test/%s/%s" % ("01" * 16, "02" * 16)
PUBLIC = public_key(SEED)
KEY_ID = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + PUBLIC).digest()[:4]
VKEY = "%s+%s+%s" % (ORIGIN, KEY_ID.hex(), base64.b64encode(b"\x01" + PUBLIC).decode())


def note(size, root):
    text = "%s\n%d\n%s\n" % (ORIGIN, size, base64.b64encode(root).decode())
    return text + "\n\u2014 %s %s\n" % (ORIGIN, base64.b64encode(KEY_ID + sign(SEED, text.encode())).decode())


def files(entries, privates):
    found = {}
    for name, start, width in log.tiles("tile/entries", len(entries)):
        found[name] = b"".join(struct.pack(">H", len(e)) + e for e in entries[start : start + width])
    for name, start, width in log.tiles("private", len(privates)):
        found[name] = b"".join(struct.pack(">I", len(p)) + p for p in privates[start : start + width])
    row, level = [log.leaf(entry) for entry in entries], 0
    while row:
        for name, start, width in log.tiles("tile/%d" % level, len(row)):
            found[name] = b"".join(row[start : start + width])
        row = [log.Tree(row[at : at + 256]).mth(0, 256) for at in range(0, len(row) - 255, 256)]
        level += 1
    return found


def vector(size):
    entries = [b"entry %d" % i for i in range(size)]
    privates = [b"" if i % 7 == 0 else b"private %d" % i for i in range(size)]
    tree = log.Tree([log.leaf(entry) for entry in entries])
    found = files(entries, privates)
    listing = "".join("%s %s\n" % (hashlib.sha256(found[name]).hexdigest(), name) for name in sorted(found))
    hexes = lambda proof: [hash.hex() for hash in proof]
    places = sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size)))
    return {
        "size": size,
        "root": tree.mth(0, size).hex(),
        "note": note(size, tree.mth(0, size)),
        "files": len(found),
        "listing": hashlib.sha256(listing.encode()).hexdigest(),
        "inclusion": [{"index": i, "proof": hexes(tree.path(i, 0, size))} for i in places],
        "consistency": [
            {"old": old, "root": tree.mth(0, old).hex(), "proof": hexes(tree.proof(old, size))}
            for old in sorted({0, 1, 255, 256, size // 2, size - 1, size} & set(range(size + 1)))
        ],
    }


SIZES = [0, 1, 2, 3, 255, 256, 257, 1000, 65536, 65537, 70000]
ABOUT = (
    "strongroom logs as files, format 1: entry i is the text 'entry <i>', its private part 'private <i>', or empty where i is a "
    "multiple of 7. 'listing' is SHA-256 over a line '<SHA-256 of the bytes> <path>' for each tile, bundle and private file, sorted "
    "by path. Made by log_v1.py beside it, which is no code of the project's. Byte strings are hex; the key is of no other use."
)
print(json.dumps({"about": ABOUT, "seed": SEED.hex(), "origin": ORIGIN, "vkey": VKEY, "logs": [vector(n) for n in SIZES]}, indent=1))
