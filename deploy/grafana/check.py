"""Reads the dashboard into Grafana's own types and writes it again: what is lost is nothing that Grafana knows.

    python check.py brim.json
"""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# Belong to the data source, of which the types know nothing, or are for the editor alone.
ELSEWHERE = {"definition", "useValueForTime", "titleFormat"}


def differences(was, became, place=""):
    if isinstance(was, dict) and isinstance(became, dict):
        for key, value in was.items():
            if key in became:
                yield from differences(value, became[key], f"{place}.{key}")
            elif key not in ELSEWHERE:
                yield f"{place}.{key} is unknown"
    elif isinstance(was, list) and isinstance(became, list) and len(was) == len(became):
        for position, pair in enumerate(zip(was, became)):
            yield from differences(*pair, f"{place}[{position}]")
    elif was != became:
        yield f"{place} is {was!r} and becomes {became!r}"


plugins.register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    written = json.load(file)
read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(written)))
found = list(differences(written, read))
print("\n".join(found))
sys.exit(bool(found))
