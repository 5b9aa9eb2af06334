#!/usr/bin/env python3
"""Verifies a log in a folder, sharing no code with strongroom: hashlib, and Ed25519 as RFC 8032 writes it down.

    verify_log.py FOLDER     checks the checkpoint, every tile and bundle, and every proof in FOLDER-proofs; prints size and root

It holds to the specifications: C2SP signed-note, tlog-checkpoint, tlog-tiles and tlog-proof, and RFC 6962 section 2.1, whose
recursive definitions are used as they stand there. The private parts beside a log, and the chain of its keys, are strongroom's own
(core/FORMAT.md). Of the checkpoints that witnesses cosigned (C2SP tlog-cosignature), the log's signatures and roots are checked, and
the witnesses' too whose public keys are given as further arguments.
"""

import base64
import functools
import hashlib
import os
import struct
import sys

# Ed25519, RFC 8032 section 6.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if y >= P or (x2 == 0 and sign):
        return None
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P:
        return None
    return P - x if (x & 1) != sign else x


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    e, f = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % P, k * m % P, j * k % P, i * m % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


GY = 4 * pow(5, P - 2, P) % P
GX = recover_x(GY, 0)
G = (GX, GY, 1, GX * GY % P)


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def verify_ed25519(public, message, signature):
    a, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left, right = multiply(s, G), add(r, multiply(h, a))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


# The tree, RFC 6962 section 2.1.
def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


class Tree:
    def __init__(self, leaves):
        self.leaves = leaves
        self.mth = functools.lru_cache(maxsize=None)(self.mth)

    def mth(self, start, end):
        if start == end:
            return hashlib.sha256(b"").digest()
        if end - start == 1:
            return self.leaves[start]
        k = split(end - start)
        return node(self.mth(start, start + k), self.mth(start + k, end))

    def path(self, m, start, end):
        if end - start == 1:
            return []
        k = split(end - start)
        if m < k:
            return self.path(m, start, start + k) + [self.mth(start + k, end)]
        return self.path(m - k, start + k, end) + [self.mth(start, start + k)]

    def subproof(self, m, start, end, whole):
        if m == end - start:
            return [] if whole else [self.mth(start, end)]
        k = split(end - start)
        if m <= k:
            return self.subproof(m, start, start + k, whole) + [self.mth(start + k, end)]
        return self.subproof(m - k, start + k, end, False) + [self.mth(start, start + k)]

    def proof(self, m, n):
        return self.subproof(m, 0, n, True) if 0 < m < n else []


# Files, tlog-tiles.
def path_of(index):
    parts = []
    while True:
        parts.insert(0, "%03d" % (index % 1000))
        index //= 1000
        if index == 0:
            break
    return "/".join(["x" + part for part in parts[:-1]] + parts[-1:])


def tiles(kind, count):
    """Path, first place and width of each tile of a row of `count`."""
    for index in range((count + 255) // 256):
        width = min(256, count - 256 * index)
        yield kind + "/" + path_of(index) + ("" if width == 256 else ".p/%d" % width), 256 * index, width


def unbundle(data, form):
    parts, size, at = [], struct.calcsize(form), 0
    while at < len(data):
        (length,) = struct.unpack_from(form, data, at)
        assert at + size + length <= len(data), "a bundle is cut"
        parts.append(data[at + size : at + size + length])
        at += size + length
    return parts


def open_note(note, vkey):
    """The lines of a checkpoint that this key signed."""
    text, _, signatures = note.decode().rpartition("\n\n")
    text += "\n"
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and len(key) == 33, "not an Ed25519 key"
    assert hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_id, "the key's id"
    good = 0
    assert signatures.endswith("\n")
    for line in signatures[:-1].split("\n"):
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        assert dash == "\u2014"
        if signer == name and signature[:4].hex() == key_id:
            assert verify_ed25519(key[1:], text.encode(), signature[4:]), "the signature"
            good += 1
    assert good == 1, "no signature by the log"
    origin, size, root, end = text.split("\n")
    assert end == "" and origin == name and str(int(size)) == size
    return int(size), base64.b64decode(root, validate=True)


def parse_key(vkey, algorithm):
    """Name, id and raw key of a verifier key."""
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == algorithm and len(key) == 33, "not a key of this kind"
    assert hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_id, "the key's id"
    return name, key_id, key[1:]


def key_chain(text):
    """The keys of a log: the first, and each that an entry put in its place, signed by the one before it."""
    lines = text.rstrip("\n").split("\n")
    chain = [(-1, lines[0])]
    for line in lines[1:]:
        after, index, vkey, signature = line.split(" ")
        name, _, old = parse_key(chain[-1][1], 1)
        new_name, _, new = parse_key(vkey, 1)
        assert after == "after" and new_name == name and int(index) > chain[-1][0], line
        signed = b"strongroom/v1/log-key\0" + name.encode() + b"\n" + new
        assert verify_ed25519(old, signed, base64.b64decode(signature, validate=True)), "a log key's signature"
        chain.append((int(index), vkey))
    return chain


def signer(chain, note):
    """The key that signs a checkpoint of this size."""
    size = int(note.decode().split("\n")[1])
    return [vkey for index, vkey in chain if index < size or index < 0][-1]


def check_cosignature(note, vkey):
    """Whether a witness cosigned a note: cosignature/v1."""
    name, key_id, key = parse_key(vkey, 4)
    text, _, signatures = note.decode().rpartition("\n\n")
    for line in signatures[:-1].split("\n"):
        _, by, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if by == name and signature[:4].hex() == key_id:
            time = struct.unpack(">Q", signature[4:12])[0]
            message = "cosignature/v1\ntime %d\n%s\n" % (time, text)
            assert verify_ed25519(key, message.encode(), signature[12:]), "a witness's signature"
            return True
    return False


def hashes(words):
    return [base64.b64decode(word, validate=True) for word in words]


def check_receipt(text, chain, tree, entries):
    head, note = text.split(b"\n\n", 1)
    lines = head.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ") and lines[2].startswith("index ")
    size, root = open_note(note, signer(chain, note))
    index = int(lines[2][6:])
    assert base64.b64decode(lines[1][6:], validate=True) == entries[index], "the entry of a receipt"
    assert hashes(lines[3:]) == tree.path(index, 0, size), "the proof of a receipt"
    assert tree.mth(0, size) == root


def main(folder, *witnesses):
    read = lambda name: open(os.path.join(folder, name), "rb").read()
    chain = key_chain(read("log-keys").decode())
    checkpoint = read("checkpoint")
    size, root = open_note(checkpoint, signer(chain, checkpoint))
    assert chain[-1][0] < size, "a key of later entries"
    expected = {"checkpoint", "log-keys"}
    entries = []
    for name, start, width in tiles("tile/entries", size):
        expected.add(name)
        found = unbundle(read(name), ">H")
        assert len(found) == width, name
        entries += found
    for name, start, width in tiles("private", size):
        expected.add(name)
        assert len(unbundle(read(name), ">I")) == width, name
    row = [leaf(entry) for entry in entries]
    tree = Tree(row)
    level = 0
    while row:
        for name, start, width in tiles("tile/%d" % level, len(row)):
            expected.add(name)
            assert read(name) == b"".join(row[start : start + width]), name
        perfect = [row[at : at + 256] for at in range(0, len(row) - 255, 256)]
        row = [Tree(hashes).mth(0, 256) for hashes in perfect]
        level += 1
    assert tree.mth(0, size) == root, "the root"
    cosigned = os.path.join(folder, "witnesses")
    notes = [read("witnesses/" + name) for name in (os.listdir(cosigned) if os.path.isdir(cosigned) else [])]
    for note in notes:
        seen, seen_root = open_note(note, signer(chain, note))
        assert seen <= size and tree.mth(0, seen) == seen_root, "a cosigned checkpoint"
    for witness in witnesses:
        assert any([check_cosignature(note, witness) for note in notes]), "not cosigned by " + witness
    expected |= {"witnesses/" + name for name in (os.listdir(cosigned) if notes else [])}
    there = {os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names}
    assert there == expected, there ^ expected
    proofs = 0
    for line in open(folder + "-proofs").read().splitlines():
        kind, one, other, *words = line.split(" ")
        one, other = int(one), int(other)
        wanted = tree.path(one, 0, other) if kind == "inclusion" else tree.proof(one, other)
        assert hashes(words) == wanted, line
        proofs += 1
    if os.path.exists(folder + "-receipt"):
        check_receipt(open(folder + "-receipt", "rb").read(), chain, tree, entries)
        proofs += 1
    print(size, root.hex(), proofs)


if __name__ == "__main__":
    main(*sys.argv[1:])
