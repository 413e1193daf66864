"""Serializes NDJSON for schemathesis, which does not know it."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def ndjson(context, value):
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):  # an example of the document, which is NDJSON already
        return value.encode()
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode("utf-8", "replace")
