#!/usr/bin/env python3
"""Checks what a source file looks like: no tabs, no white space at the end, not too long."""

import sys

from tree import TOP, sources

MAX_LINES = 1500


def faults_of(path):
    lines = (TOP / path).read_text().split("\n")
    if lines.pop() != "":
        yield f"{path}: the last line does not end"
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield f"{path}:{number}: tab"
        if line != line.rstrip():
            yield f"{path}:{number}: white space at the end of the line"
    if path.suffix == ".c" and len(lines) >= MAX_LINES:
        yield f"{path}: {len(lines)} lines, {MAX_LINES} are too many"


def main():
    faults = [fault for path in sources(".c", ".h", ".def") for fault in faults_of(path)]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
