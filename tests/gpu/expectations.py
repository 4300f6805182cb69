#!/usr/bin/env python3
"""Prints what tests/gpu/expectations.json expects of an H100 or H200 beside what the steps of check.sh measured.

    python3 tests/gpu/expectations.py FOLDER      the folder with the steps' training.json, bench.json, ...

An expectation has a name, the file and the place in it (keys with dots; [key=value,...] picks from a list), the value,
and where the value comes from. A place that is not there prints as n/a. Nothing here fails a check.
"""
import json
import re
import sys
from pathlib import Path


def find(data, place):
    """What is at a place such as rows[model=GPT-2 124M,dropout=0.1].glint_ms, or None."""
    for name, choice in re.findall(r"([^.\[\]]+)(?:\[([^\]]*)\])?(?:\.|$)", place):
        data = data.get(name) if isinstance(data, dict) else None
        if choice and isinstance(data, list):
            wanted = dict(pair.split("=") for pair in choice.split(","))
            matches = [row for row in data if all(str(row.get(key)) == value for key, value in wanted.items())]
            data = matches[0] if matches else None
    return data if isinstance(data, (int, float)) else None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    expectations = json.loads((Path(__file__).parent / "expectations.json").read_text())
    print("| figure | expected | measured | measured / expected |\n|---|---|---|---|")
    for row in expectations:
        path = Path(sys.argv[1]) / f"{row['file']}.json"
        try:
            figure = find(json.loads(path.read_text()), row["at"])
        except (OSError, ValueError):
            figure = None
        measured = "n/a | n/a" if figure is None else f"{figure:.4g} | {figure / row['expected']:.2f}"
        print(f"| {row['name']} | {row['expected']} | {measured} |")


if __name__ == "__main__":
    main()
