#!/usr/bin/env python3
"""Makes stops-v1.json: orders that freeze, block and give back, and the operators' own ledger, from FORMAT.md and hashlib alone."""

import hashlib
import json
import os

VAULT = bytes([1] * 16)
TENANT = bytes([2] * 16)
KEY = "SHA256:doBaY6aYDBgHVCShPzJ3LQLXxxtJZXVMHOhPWEEiAyc"
NAMED = [
    ("freeze a dataset", {"freeze_dataset": {"name": "rlhf", "note": "incident 42"}}, "dataset.frozen", True),
    ("unfreeze a dataset", {"unfreeze_dataset": {"name": "rlhf", "note": None}}, "dataset.unfrozen", False),
    ("freeze a tenant", {"freeze_tenant": {"note": "a \"quote\", a \\ and a\nline"}}, "tenant.frozen", True),
    ("unfreeze a tenant", {"unfreeze_tenant": {"note": None}}, "tenant.unfrozen", False),
    ("block a key", {"block_key": {"key": KEY, "note": "gesehen, naïve, 日本"}}, "key.blocked", True),
    ("unblock a key", {"unblock_key": {"key": KEY, "note": None}}, "key.unblocked", False),
]


def operators():
    tenant = hashlib.sha256(b"strongroom/v1/operators" + VAULT).digest()[:16]
    return {
        "vault": VAULT.hex(),
        "tenant": tenant.hex(),
        "name": "operators." + VAULT.hex(),
        "origin": "vault.example/%s/%s" % (VAULT.hex(), tenant.hex()),
    }


def orders():
    for number, (name, instruction, event, takes_away) in enumerate(NAMED):
        own = "block" in name
        ledger = operators()["origin"] if own else "vault.example/%s/%s" % (VAULT.hex(), TENANT.hex())
        order = {"ledger": ledger, "request": "%032x" % (number + 1), "not_after": 1800000600000, "instruction": instruction}
        text = json.dumps(order, separators=(",", ":"), ensure_ascii=False)
        order_id = hashlib.sha256(text.encode()).hexdigest()
        yield {"name": name, "bytes": text, "id": order_id, "event": event, "takes_away": takes_away}


about = "strongroom orders that stop somebody, format 1, and the ledger of a vault's operators; exact JSON is text."
path = os.path.join(os.path.dirname(__file__), "stops-v1.json")
with open(path, "w", encoding="utf-8") as file:
    json.dump({"about": about, "operators": operators(), "orders": list(orders())}, file, indent=2, ensure_ascii=False)
    file.write("\n")
