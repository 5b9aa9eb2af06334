"""Reads NAME.jsonl, NAME.csv, NAME.parquet and NAME.ocsf with programs that share no code with strongroom, and compares them.

DuckDB reads the first three, pandas Parquet and CSV; the events of the last are validated against OCSF's own schema of their class and
version.
"""

import json
import sys

import duckdb
import pandas
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

name = sys.argv[1]
with open(f"{name}.jsonl") as file:
    entries = [json.loads(line) for line in file]

# A row for each entry and object, as the JSON Lines tell them.
expected = []
for entry in entries:
    claims = entry["claims"] or {}
    instruction = entry["instruction"] and json.dumps(entry["instruction"], separators=(",", ":"), ensure_ascii=False)
    for at, part in enumerate(entry["objects"] or [None]):
        row = {column: entry[column] for column in
               ["tenant", "index", "time", "event", "outcome", "reason", "count", "role", "vendor", "key", "session",
                "request", "call", "order"]}
        row |= {"grant": (entry["grants"] or [None])[0], "grants": " ".join(entry["grants"]) or None, "node": entry["node"]}
        fields = ["dataset", "path", "put", "ordinal", "generation", "size", "content_root", "first_segment",
                  "end_segment", "bytes"]
        row |= {"part": at if part else None} | {field: part and part[field] for field in fields}
        row |= {"source": entry["source"], "sdk": claims.get("sdk"), "host": claims.get("host"), "job": claims.get("job"),
                "instruction": instruction, "detail": entry["detail"], "erased": int(entry["erased"]),
                "parts": len(entry["objects"]), "incident": entry["incident"]}
        # An empty text and none are one in CSV.
        expected.append({column: None if value == "" else value for column, value in row.items()})

connection = duckdb.connect()
TIME = """strftime("time" AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ')"""
types = {column: "VARCHAR" if isinstance(value, str) else "BIGINT"
         for row in expected for column, value in row.items() if value is not None}
types = {column: types.get(column, "VARCHAR") for column in expected[0]} | {"time": "TIMESTAMPTZ"}
sources = {
    "parquet": f"read_parquet('{name}.parquet')",
    "csv": f"read_csv('{name}.csv', header = true, columns = {types})",
}
for form, source in sources.items():
    found = connection.execute(f"SELECT * REPLACE ({TIME} AS \"time\") FROM {source}")
    columns = [column[0] for column in found.description]
    assert columns == list(expected[0]), (form, columns)
    rows = [dict(zip(columns, row)) for row in found.fetchall()]
    if form == "csv":
        # The apostrophe that keeps a text from being a formula.
        rows = [{column: value[1:] if isinstance(value, str) and value.startswith("'") else value
                 for column, value in row.items()} for row in rows]
    else:
        rows = [{column: None if value == "" else value for column, value in row.items()} for row in rows]
    assert len(rows) == len(expected), (form, len(rows), len(expected))
    for row, wanted in zip(rows, expected):
        assert row == wanted, (form, row, wanted)
by_event = dict(connection.execute(f"SELECT event, count(DISTINCT \"index\") FROM {sources['parquet']} GROUP BY event").fetchall())
assert by_event["release"] == sum(entry["event"] == "release" for entry in entries), by_event

# pandas, as its users call it: a frame of the same rows, times with their zone, and sums over a column.
frames = {
    "parquet": pandas.read_parquet(f"{name}.parquet"),
    "csv": pandas.read_csv(f"{name}.csv", parse_dates=["time"], keep_default_na=False, na_values=[""],
                           dtype={column: "str" for column, kind in types.items() if kind == "VARCHAR"}),
}
for form, frame in frames.items():
    assert list(frame.columns) == list(expected[0]), (form, list(frame.columns))
    assert len(frame) == len(expected), (form, len(frame))
    assert str(frame["time"].dt.tz) == "UTC", (form, frame["time"].dtype)
    for column, dtype in frame.dtypes.items():
        wanted = [row[column] for row in expected]
        if column == "time":
            found = [time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" for time in frame[column]]
        elif all(value is None for value in wanted):
            # A column of nothing has any type.
            found = [None if pandas.isna(value) or value == "" else value for value in frame[column]]
        elif types[column] == "BIGINT":
            assert pandas.api.types.is_numeric_dtype(dtype), (form, column, dtype)
            found = [None if pandas.isna(value) else int(value) for value in frame[column]]
        else:
            found = [None if pandas.isna(value) or value == "" else str(value) for value in frame[column]]
            found = [value[1:] if form == "csv" and value and value.startswith("'") else value for value in found]
        assert found == wanted, (form, column, [pair for pair in zip(found, wanted) if pair[0] != pair[1]][:3])
read = frames["parquet"].query("event == 'release'").groupby("key")["bytes"].sum()
assert read.sum() == sum(row["bytes"] or 0 for row in expected if row["event"] == "release"), read

with open(f"{name}.ocsf") as file:
    events = [json.loads(line) for line in file]
versions = {event["metadata"]["version"] for event in events}
assert len(versions) == 1 and len(events) == len(entries), versions
schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(versions.pop())).get_class_schema(class_name="api_activity")
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for event in events:
    faults = [f"{list(fault.absolute_path)}: {fault.message}" for fault in validator.iter_errors(event)]
    assert not faults, (faults, event)
# The schema does refuse: an event of which a required part is gone.
for missing in ["actor", "src_endpoint", "metadata", "time"]:
    assert not validator.is_valid({field: value for field, value in events[0].items() if field != missing}), missing

print(len(entries), "entries")
