#!/usr/bin/env python3
"""Makes escrow-v1.json: an export of a tenant's catalog, with keys that are sealed to an age identity, and the blob that it leads to.

From FORMAT.md, the specification of age (C2SP age.md) and PyPI's `cryptography` and `blake3` for their primitives.
"""

import base64
import hashlib
import hmac
import json
import os
import struct

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VAULT, TENANT, DATASET = bytes([1] * 16), bytes([2] * 16), bytes([3] * 16)
LEDGER = "vault.example/%s/%s" % (VAULT.hex(), TENANT.hex())
TENANT_KEYS = {1: bytes(range(0x20, 0x40)), 3: bytes(range(0x60, 0x80))}
IDENTITIES = [bytes([0x41 + n] * 32) for n in range(2)]


def extract(salt, key):
    return hmac.new(salt, key, hashlib.sha256).digest()


def expand(key, info):
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


# Bech32 (BIP 173), as age spells its keys.
def bech32(prefix, data):
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join("{:08b}".format(byte) for byte in data)
    bits += "0" * (-len(bits) % 5)
    words = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = 1
    for word in spread + words + [0] * 6:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for n, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> n & 1 else 0
    words += [(check ^ 1) >> 5 * (5 - n) & 31 for n in range(6)]
    return prefix + "1" + "".join(alphabet[word] for word in words)


def raw(key):
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def recipient(identity):
    return bech32("age", raw(X25519PrivateKey.from_private_bytes(identity).public_key()))


def unpadded(data):
    return base64.b64encode(data).decode().rstrip("=")


def age(identity, plaintext, salt):
    """An age message to an X25519 recipient. What is random in it comes from `salt`."""
    file_key, ephemeral, nonce = (hashlib.sha256(salt + bytes([n])).digest() for n in range(3))
    file_key, nonce = file_key[:16], nonce[:16]
    public = raw(X25519PrivateKey.from_private_bytes(identity).public_key())
    secret = X25519PrivateKey.from_private_bytes(ephemeral)
    share = raw(secret.public_key())
    shared = secret.exchange(X25519PublicKey.from_public_bytes(public))
    wrap_key = expand(extract(share + public, shared), b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(wrap_key).encrypt(bytes(12), file_key, b"")
    header = "age-encryption.org/v1\n-> X25519 %s\n%s\n---" % (unpadded(share), unpadded(body))
    mac = hmac.new(expand(extract(b"", file_key), b"header"), header.encode(), hashlib.sha256).digest()
    payload = ChaCha20Poly1305(expand(extract(nonce, file_key), b"payload")).encrypt(bytes(11) + b"\x01", plaintext, b"")
    return header.encode() + b" " + unpadded(mac).encode() + b"\n" + nonce + payload


def seal(key, nonce, aad, plaintext):
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


class Sealed:
    """A sealed object of one segment."""

    def __init__(self, number, plaintext):
        self.size, self.id = len(plaintext), bytes([0x90 + number] * 16)
        self.header = b"SRO1\x01\x10\x00\x00" + self.id
        self.root = expand(bytes([0xA0 + number] * 32), b"strongroom/v1/root" + self.header)
        leaf = self.root
        for _ in range(4):
            leaf = expand(leaf, b"strongroom/v1/node\x00")
        aad = b"strongroom/v1/segment" + struct.pack(">IB", 0, 1)
        sealed = seal(expand(leaf, b"strongroom/v1/seal"), bytes([number] * 12), aad, plaintext)
        segment = expand(leaf, b"strongroom/v1/commit") + sealed
        window = blake3(b"strongroom/v1/window" + struct.pack(">I", 0) + blake3(segment).digest()).digest()
        self.content_root = blake3(b"strongroom/v1/content" + self.header + struct.pack(">Q", self.size) + window).digest()
        self.blob = self.header + segment

    def wrapped(self, path, version):
        integer = lambda n: struct.pack(">Q", n)
        fields = [b"object-root", TENANT, integer(version), DATASET, b"rlhf", path.encode(), self.id, self.header]
        fields += [integer(self.size), self.content_root]
        aad = b"".join(struct.pack(">I", len(field)) + field for field in fields)
        return seal(expand(TENANT_KEYS[version], b"strongroom/v1/wrap" + self.id), bytes([7] * 12), aad, self.root)


OBJECTS = [
    ("math/000007.json", 1, 1, False, b'{"question": "what is 2 + 2?"}\n'),
    ("math/000007.json", 2, 3, True, b'{"question": "what is 2 + 3?"}\n'),
    ("na\u00efve/\u65e5\u672c.txt", 1, 3, True, b""),
    ('a "quote", a \\ and more', 9007199254740991, 3, True, bytes(range(256)) * 4),
]


def export():
    blob_name, blob, lines, plaintexts = "blobs/%s/ab/%s" % (TENANT.hex(), "abababab-abab-4bab-8bab-abababababab"), b"", "", []
    for number, (path, generation, version, visible, plaintext) in enumerate(OBJECTS):
        sealed = Sealed(number, plaintext)
        line = {
            "dataset": DATASET.hex(),
            "dataset_name": "rlhf",
            "path": path,
            "generation": generation,
            "visible": visible,
            "header": sealed.header.hex(),
            "size": sealed.size,
            "content_root": sealed.content_root.hex(),
            "key_version": version,
            "wrapped": base64.b64encode(sealed.wrapped(path, version)).decode(),
            "blob": blob_name,
            "offset": len(blob),
        }
        lines += json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
        blob += sealed.blob
        plaintexts.append(plaintext.hex())
    keys = []
    for version, key in TENANT_KEYS.items():
        plain = b"SRE1" + VAULT + TENANT + struct.pack(">I", version) + key
        for identity in sorted(IDENTITIES, key=recipient):
            message = age(identity, plain, b"%d" % version + identity)
            keys.append(
                {"version": version, "recipient": recipient(identity), "message": base64.b64encode(message).decode()}
            )
    head = {
        "format": "strongroom/v1/catalog",
        "ledger": LEDGER,
        "name": "acme",
        "made": 1800000000000,
        "keys": keys,
        "objects": len(OBJECTS),
        "digest": blake3(lines.encode()).digest().hex(),
    }
    escrowed = [
        {
            "version": version,
            "key": key.hex(),
            "plaintext": (b"SRE1" + VAULT + TENANT + struct.pack(">I", version) + key).hex(),
        }
        for version, key in TENANT_KEYS.items()
    ]
    return {
        "identities": [bech32("age-secret-key-", identity).upper() for identity in IDENTITIES],
        "stranger": bech32("age-secret-key-", bytes([0x7A] * 32)).upper(),
        "escrowed_keys": escrowed,
        "catalog.json": json.dumps(head, separators=(",", ":"), ensure_ascii=False),
        "objects.jsonl": lines,
        "blob": {"name": blob_name, "bytes": blob.hex()},
        "plaintexts": plaintexts,
    }


ABOUT = (
    "strongroom export of a tenant's catalog, format 1, with everything that it leads to: identities, sealed versions of the key, the blob, "
    "and each object's plaintext in the order of the lines. Byte strings are hex; the two files are text; the keys are of no other use."
)
path = os.path.join(os.path.dirname(__file__), "escrow-v1.json")
with open(path, "w", encoding="utf-8") as file:
    json.dump(dict({"about": ABOUT}, **export()), file, indent=1, ensure_ascii=False)
    file.write("\n")
