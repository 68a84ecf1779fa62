#!/usr/bin/env python3
"""Checks that every header compiles on its own, with the compiler and flags of this build.

COMPILE is the command line without files, as `make check` sets it.
"""

import os
import shlex
import subprocess
import sys

from tree import sources

# Including it twice shows that it has a guard. A unit that declares nothing is no fault here.
UNIT = '#include "{0}"\n#include "{0}"\nextern int lint_headers_unit;\n'


def check(header, command):
    result = subprocess.run(
        command + ["-fsyntax-only", "-Werror", "-x", "c", "-"],
        input=UNIT.format(header.as_posix()), text=True, capture_output=True, check=False)
    if result.returncode != 0:
        print(f"{header} does not compile alone:\n{result.stderr}")
    return result.returncode == 0


def main():
    command = shlex.split(os.environ["COMPILE"])
    results = [check(header, command) for header in sources(".h")]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
