#!/usr/bin/env python3
"""Verifies an archive of evidence, sharing no code with strongroom: hashlib, Ed25519 as RFC 8032 and ECDSA P-256 as FIPS 186 write them.

    verify_evidence.py ARCHIVE.tar     prints entries, releases, objects, bytes and bytes in all, if all of it holds

It holds to core/FORMAT.md: that each entry is under the signed checkpoint, each private part its entry's, each order, opening and call
signed by whom it says, each release one that its call asked for, and that the report's sums are those of the releases.
"""

import base64
import hashlib
import json
import sys
import tarfile

from verify_log import key_chain, node, open_note, signer, verify_ed25519

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
SEGMENT = 65536


def add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(scalar, point):
    result = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def verify_p256(point, message, signature):
    point, signature = bytes.fromhex(point), bytes.fromhex(signature)
    assert len(point) == 65 and point[0] == 4 and len(signature) == 64
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    assert (y * y - x * x * x + 3 * x - B) % P == 0, "not a point of the curve"
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < N and 0 < s < N):
        return False
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, N)
    found = add(multiply(digest * inverse % N, G), multiply(r * inverse % N, (x, y)))
    return found is not None and found[0] % N == r


def fingerprint(point):
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
    digest = hashlib.sha256(prefix + bytes.fromhex(point)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def exact(value):
    """Exact JSON: Python's own without spaces and with all of Unicode is that, given that fields keep their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def signed(kind, data):
    return b"strongroom/v1/" + kind + b"\0" + data


def check_inclusion(leaf, index, size, root, proof):
    """RFC 9162 section 2.1.3.2."""
    assert index < size
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        assert last > 0
        if at & 1 or at == last:
            found = node(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, sibling)
        at, last = at >> 1, last >> 1
    assert last == 0 and found == root, "the proof of entry %d" % index


def check_private(entry, private, origin, sessions, calls):
    count = 0
    order, opening, call = private["order"], private["opening"], private["call"]
    if order:
        data = exact(order["order"])
        assert hashlib.sha256(data).hexdigest() == entry["order"], "the order's id"
        assert order["order"]["ledger"] == origin, "the order's ledger"
        for one in order["signatures"]:
            assert verify_p256(one["key"], signed(b"order", data), one["signature"]), "an order's signature"
            count += 1
        if entry["event"] != "denied":
            assert fingerprint(order["signatures"][0]["key"]) == entry["actor"]["key"], "the order's signer"
    if opening:
        data = exact(opening["opening"])
        session = hashlib.sha256(data).hexdigest()
        assert session == entry["session"] and fingerprint(opening["key"]) == entry["actor"]["key"], "the opening"
        assert verify_p256(opening["key"], signed(b"opening", data), opening["signature"]), "an opening's signature"
        sessions[session] = entry["actor"]["key"], bytes.fromhex(opening["opening"]["call_key"])
        count += 1
    if call and entry["session"] in sessions:
        who, call_key = sessions[entry["session"]]
        parts = bytes.fromhex(entry["session"]), hashlib.sha256(origin.encode()).digest(), hashlib.sha256(exact(call["call"])).digest()
        digest = hashlib.sha256(b"".join(parts)).digest()
        assert digest.hex() == entry["call"] and who == entry["actor"]["key"], "the call"
        assert verify_ed25519(call_key, signed(b"call", digest), bytes.fromhex(call["signature"])), "a call's signature"
        calls[entry["call"]] = call["call"]["work"]
        count += 1
    return count


def main(archive):
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    names = ["README.md", "log-keys", "checkpoint", "report.json", "entries.jsonl", "private.jsonl", "proofs.jsonl"]
    assert list(files) == names, files.keys()
    vkey = signer(key_chain(files["log-keys"].decode()), files["checkpoint"])
    origin = vkey.split("+")[0]
    size, root = open_note(files["checkpoint"], vkey)
    report = json.loads(files["report.json"])
    lines = [files[name].split(b"\n") for name in names[4:]]
    assert len({len(some) for some in lines}) == 1 and all(some.pop() == b"" for some in lines)
    since, until = report["question"]["since"] or 0, report["question"]["until"] or 2**63
    sessions, calls, had, next_index = {}, {}, {}, 0
    entries = releases = repeats = bytes_total = signatures = 0
    for public, secret, proof in zip(*lines):
        entry = json.loads(public)
        assert exact(entry) == public, "an entry is exact JSON"
        assert entry["index"] >= next_index
        next_index, entries = entry["index"] + 1, entries + 1
        proof = [base64.b64decode(word, validate=True) for word in json.loads(proof)]
        check_inclusion(hashlib.sha256(b"\0" + public).digest(), entry["index"], size, root, proof)
        if secret:
            assert hashlib.sha256(secret).hexdigest() == entry["private"], "a private part"
            private = json.loads(secret)
            assert exact(private) == secret, "a private part is exact JSON"
            signatures += check_private(entry, private, origin, sessions, calls)
        if entry["event"] not in ("release", "release.repeat"):
            continue
        work = calls[entry["call"]]
        items = work.get("get") or work["release_keys"]
        assert sessions[entry["session"]][0] == entry["actor"]["key"], "whose session it was released in"
        assert all(part[0] < len(items) for part in entry["objects"]), "what was asked for"
        if not since <= entry["time"] < until:
            continue
        releases += 1
        repeats += entry["event"] == "release.repeat"
        for item, put, ordinal, start, end, count in entry["objects"]:
            bytes_total += count
            segments, named, short = had.setdefault((put, ordinal), (set(), set(), [0]))
            segments.update(range(start, end))
            short[0] = max(short[0], (end - start) * SEGMENT - count)
            named.add((items[item]["dataset"], items[item]["path"]))
    exposure = report["exposure"]
    told = {(one["put"], one["ordinal"]): one for one in exposure["objects"] if one["read"]}
    assert told.keys() == had.keys(), "the objects of the report"
    distinct = 0
    for place, (segments, named, short) in had.items():
        one, count = told[place], len(segments) * SEGMENT - short[0]
        assert {at for start, end in one["read"] for at in range(start, end)} == segments, place
        assert one["bytes"] == count, place
        assert one["name"] is None or all(path is None or [dataset, path] == one["name"] for dataset, path in named), place
        distinct += count
    totals = exposure["totals"]
    found = {"releases": releases, "repeats": repeats, "objects": len(had), "bytes": distinct, "bytes_total": bytes_total}
    assert all(totals[name] == number for name, number in found.items()), (totals, found)
    print(entries, signatures, *found.values())


if __name__ == "__main__":
    main(sys.argv[1])
