#!/usr/bin/env python3
"""Makes orders-v1.json: orders on a tenant's policy, renewals, keys, shredding, escrow and incidents, and what is refused, from FORMAT.md
and hashlib alone."""

import hashlib
import json
import os

LEDGER = "vault.example/%s/%s" % ("01" * 16, "02" * 16)
VENDOR = "vd_" + "ab" * 16
INCIDENT = "in_" + "cd" * 16
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
PLUGIN = "age1yubikey1qwerty"
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


def every(length):
    return {"rotate_every": {"every": length, "first": 1800000000000}}


def shred(prefix, note):
    return {"shred_objects": {"dataset": "rlhf", "prefix": prefix, "note": note}}


def escrow(recipients):
    return {"set_escrow": {"recipients": recipients}}


def incident(since, note):
    return {"open_incident": {"vendor": VENDOR, "since": since, "note": note}}


NAMED = [
    ("policy without limits", policy(DAY, DAY, NO_LIMITS), "policy.set", True),
    ("policy with every limit", policy(366 * DAY, 60000, LIMITS), "policy.set", True),
    ("policy with one limit", policy(7 * DAY, 900000, dict(NO_LIMITS, objects=1)), "policy.set", True),
    ("renewal", renewal(1800003600000), "grant.renewed", False),
    ("renewal to the last moment that can be written", renewal(9007199254740991), "grant.renewed", False),
    ("rotation", {"rotate_key": {"version": 2}}, "key.rotated", True),
    ("rotation to the last version", {"rotate_key": {"version": 4294967295}}, "key.rotated", True),
    ("destruction", {"destroy_key": {"version": 1}}, "key.destroyed", True),
    ("rotation by itself", every(90 * DAY), "rotation.set", True),
    ("rotation by itself as often as can be", every(3600000), "rotation.set", True),
    ("rotation by itself as seldom as can be", every(316224000000), "rotation.set", True),
    ("rotation by itself no longer", every(None), "rotation.set", True),
    ("rotation of the log's key", {"rotate_log_key": {"version": 2}}, "log_key.rotated", True),
    ("shredding of a folder", shred("math/", "contract over"), "object.shredded", True),
    ("shredding of all that begins so", shred("math/0000*", None), "object.shredded", True),
    ("shredding of an object", shred("math/000007.json", None), "object.shredded", True),
    ("shredding of a dataset's own folder", shred("", "gesehen, na\u00efve, \u65e5\u672c"), "object.shredded", True),
    ("shredding of a dataset", {"shred_dataset": {"name": "rlhf", "note": None}}, "dataset.shredded", True),
    ("shredding of a tenant", {"shred_tenant": {"note": "a \"quote\", a \\ and a\nline"}}, "tenant.shredded", True),
    ("escrow to two", escrow([AGE, PLUGIN]), "escrow.set", True),
    ("escrow to as many as can be", escrow(["age1%s" % (chr(97 + n) * 8) for n in range(16)]), "escrow.set", True),
    ("escrow no longer", escrow([]), "escrow.set", True),
    ("incident", incident(1799990000000, "seen on a forum"), "incident.opened", True),
    ("incident of all of time", incident(None, None), "incident.opened", True),
    ("incident over", {"close_incident": {"incident": INCIDENT, "note": "a stolen laptop"}}, "incident.closed", True),
    ("suspension in an incident", {"suspend_vendor": {"vendor": VENDOR, "note": None}}, "vendor.suspended", True),
]
# What is an order and is refused when it is signed: a bound of a field.
BEYOND = [
    ("rotation by itself too often", every(3599999)),
    ("rotation by itself too seldom", every(316224000001)),
    ("recipients that are not sorted", escrow([PLUGIN, AGE])),
    ("a recipient twice", escrow([AGE, AGE])),
    ("a recipient in capitals", escrow([AGE.upper()])),
    ("a recipient of ssh", escrow(["ssh-ed25519 AAAA"])),
    ("seventeen recipients", escrow(["age1%s" % (chr(97 + n) * 8) for n in range(17)])),
    ("a note of 513 bytes", shred("math/", "x" * 513)),
    ("a note of 513 bytes in fewer characters", incident(None, "\u00e9" * 256 + "x")),
]


def text_of(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def order_of(number, instruction):
    return {"ledger": LEDGER, "request": "%032x" % (number + 1), "not_after": 1800000600000, "instruction": instruction}


def orders():
    for number, (name, instruction, event, is_authority) in enumerate(NAMED):
        order = order_of(number, instruction)
        if name.endswith("in an incident"):
            order["incident"] = INCIDENT
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
    named = {order["name"]: order["bytes"] for order in orders()}
    itself = named["rotation by itself"]
    yield "a time between rotations with a fraction", itself.replace('"every":7776000000', '"every":7776000000.0')
    yield "a time between rotations left out", itself.replace('"every":7776000000,', "")
    yield "a first rotation that is none", itself.replace('"first":1800000000000', '"first":null')
    shredded = named["shredding of a folder"]
    yield "a prefix that leaves the dataset", shredded.replace('"math/"', '"../math/"')
    yield "a prefix that is none", shredded.replace('"math/"', "null")
    yield "a shredding without a word on why", shredded.replace(',"note":"contract over"', "")
    yield "recipients that are none", named["escrow no longer"].replace("[]", "null")
    yield "a recipient that stands alone", named["escrow no longer"].replace("[]", '"%s"' % AGE)
    yield "an incident without a time", named["incident of all of time"].replace('"since":null,', "")
    yield "an incident's id of another kind", named["incident over"].replace("in_cd", "gr_cd")
    inside = named["suspension in an incident"]
    yield "an incident that is null", inside.replace('"incident":"%s"' % INCIDENT, '"incident":null')
    yield "an incident before the instruction", text_of(
        {key: json.loads(inside)[key] for key in ("ledger", "request", "not_after", "incident", "instruction")}
    )
    yield "an incident's note that is not escaped", named["shredding of a tenant"].replace("\\n", "\n")


about = (
    "strongroom orders on policy, renewals, keys, shredding, escrow and incidents, format 1; exact JSON is text. What is under 'refused' "
    "is no order; what is under 'beyond' is one that no signature makes good."
)
path = os.path.join(os.path.dirname(__file__), "orders-v1.json")
with open(path, "w", encoding="utf-8") as file:
    beyond = [{"name": name, "bytes": text_of(order_of(99, instruction))} for name, instruction in BEYOND]
    none = [{"name": name, "bytes": text} for name, text in refused()]
    made = {"about": about, "orders": list(orders()), "refused": none, "beyond": beyond}
    json.dump(made, file, indent=2, ensure_ascii=False)
    file.write("\n")
