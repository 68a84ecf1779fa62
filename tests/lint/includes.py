#!/usr/bin/env python3
"""Checks the #include lines of all source files against include-rules."""

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tree import TOP, sources

RULES = Path(__file__).parent / "include-rules"
INCLUDE = re.compile(r'\s*#\s*include\b\s*(?:"([^"]+)"|(<[^>]+>)|(.*))')
GENERATED = "config.h"


def read_rules():
    """Two dictionaries from a folder to the words of its rules."""
    rules = {"sees": {}, "hides": {}}
    for line in RULES.read_text().splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        folder, verb, patterns = words[0], words[1], words[2:]
        if folder in rules[verb]:
            raise SystemExit(f"{RULES}: {folder} {verb} twice")
        rules[verb][folder] = patterns
    return rules["sees"], rules["hides"]


def within(path, folder):
    return folder == "*" or path == folder or path.startswith(folder + "/")


def owner(path, folders):
    """The longest of the folders that the file is in, or None."""
    return max((f for f in folders if within(path, f)), key=len, default=None)


def check_ours(path, name, folder, sees):
    if name == GENERATED:
        return None
    if not (TOP / name).is_file():
        return f'"{name}" is not a path from the project\'s root'
    home = str(PurePosixPath(path).parent)
    if any(within(name, seen) for seen in [home, folder] + sees[folder]):
        return None
    return f'{folder} may not see "{name}"'


def check_system(name, folder, hides):
    if any(fnmatchcase(name, hidden) for hidden in hides.get(folder, [])):
        return f"{folder} may not include {name}"
    return None


def check_file(path, sees, hides):
    """The faults of one file, as lines to print."""
    folder = owner(path, sees)
    if folder is None:
        return [f"{path}: include-rules has no rule for this folder"]
    faults = []
    for number, line in enumerate((TOP / path).read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        ours, system, other = found.groups()
        if ours:
            fault = check_ours(path, ours, folder, sees)
        elif system:
            fault = check_system(system, folder, hides)
        else:
            fault = f"cannot be checked: {other}"
        if fault:
            faults.append(f"{path}:{number}: {fault}")
    return faults


def main():
    sees, hides = read_rules()
    faults = [fault for path in sources(".c", ".h", ".def")
              for fault in check_file(path.as_posix(), sees, hides)]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
