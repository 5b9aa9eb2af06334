#!/usr/bin/env python3
"""Makes orders-v1.json: orders on a tenant's policy, on renewals and on keys, and what is refused, from FORMAT.md and hashlib alone."""

import hashlib
import json
import os

LEDGER = "vault.example/%s/%s" % ("01" * 16, "02" * 16)
DAY = 24 * 60 * 60 * 1000
NO_LIMITS = {"bytes": None, "objects": None, "uses": None, "bytes_per_minute": None, "sources": []}
LIMITS = {
    "bytes": 10485760,
    "objects": 0,
    "uses": 9007199254740991,
    "bytes_per_minute": 52428800,
    "sources": ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "::/0"],
}


def policy(root_life, delegated_life, limits):
    return {"set_policy": {"root_life": root_life, "delegated_life": delegated_life, "limits": limits}}


def renewal(expires):
    return {"renew_grant": {"grant": "gr_" + "ef" * 16, "expires": expires}}


NAMED = [
    ("policy without limits", policy(DAY, DAY, NO_LIMITS), "policy.set", True),
    ("policy with every limit", policy(366 * DAY, 60000, LIMITS), "policy.set", True),
    ("policy with one limit", policy(7 * DAY, 900000, dict(NO_LIMITS, objects=1)), "policy.set", True),
    ("renewal", renewal(1800003600000), "grant.renewed", False),
    ("renewal to the last moment that can be written", renewal(9007199254740991), "grant.renewed", False),
    ("rotation", {"rotate_key": {"version": 2}}, "key.rotated", True),
    ("rotation to the last version", {"rotate_key": {"version": 4294967295}}, "key.rotated", True),
    ("destruction", {"destroy_key": {"version": 1}}, "key.destroyed", True),
]


def text_of(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def orders():
    for number, (name, instruction, event, is_authority) in enumerate(NAMED):
        order = {"ledger": LEDGER, "request": "%032x" % (number + 1), "not_after": 1800000600000, "instruction": instruction}
        text = text_of(order)
        order_id = hashlib.sha256(text.encode()).hexdigest()
        yield {"name": name, "bytes": text, "id": order_id, "event": event, "is_authority": is_authority}


def refused():
    """Bytes that are no order: each one step away from one that is."""
    first = next(orders())["bytes"]
    yield "a number over 2^53-1", text_of(json.loads(first)).replace('"root_life":86400000', '"root_life":9007199254740992')
    yield "a life written with a fraction", first.replace('"root_life":86400000', '"root_life":86400000.0')
    yield "fields in another order", first.replace(
        '"root_life":86400000,"delegated_life":86400000', '"delegated_life":86400000,"root_life":86400000'
    )
    yield "a limit left out", first.replace('"objects":null,', "")
    yield "a limit of another name", first.replace('"uses":null', '"calls":null')
    yield "sources that are none", first.replace('"sources":[]', '"sources":null')
    renewed = [order["bytes"] for order in orders() if order["name"] == "renewal"][0]
    yield "a grant's id in capitals", renewed.replace("gr_" + "ef" * 16, "gr_" + "EF" * 16)
    yield "a grant's id without its beginning", renewed.replace("gr_", "")
    yield "an end before 1970", renewed.replace("1800003600000", "-1")
    rotated = [order["bytes"] for order in orders() if order["name"] == "rotation"][0]
    yield "a version over 32 bits", rotated.replace('"version":2', '"version":4294967296')
    yield "a version as a string", rotated.replace('"version":2', '"version":"2"')


about = "strongroom orders on policy, renewals and keys, format 1; exact JSON is text. What is under 'refused' is no order."
path = os.path.join(os.path.dirname(__file__), "orders-v1.json")
with open(path, "w", encoding="utf-8") as file:
    made = {"about": about, "orders": list(orders()), "refused": [{"name": name, "bytes": text} for name, text in refused()]}
    json.dump(made, file, indent=2, ensure_ascii=False)
    file.write("\n")
