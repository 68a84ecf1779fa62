"""The project's source files, for the lint tests beside this module."""

import os
from pathlib import Path

# `make check` sets srcdir.
TOP = Path(os.environ.get("srcdir") or Path(__file__).parents[2])

# What is not built by our Makefile follows the rules of its own language and tools.
NOT_OURS = {"build", "data", "tests/interop"}


def sources(*suffixes):
    """The paths, relative to the project's root, of all files with one of these suffixes."""
    found = []
    for folder, subfolders, names in os.walk(TOP):
        here = Path(folder).relative_to(TOP)
        # A folder with a config.status is a build, or a distribution that is being checked.
        subfolders[:] = [name for name in subfolders
                         if not name.startswith(".")
                         and (here / name).as_posix() not in NOT_OURS
                         and not (Path(folder) / name / "configure").exists()
                         and not (Path(folder) / name / "config.status").exists()]
        found += [here / name for name in names if name.endswith(suffixes)]
    if not found:
        raise SystemExit(f"no {' '.join(suffixes)} files below {TOP}")
    return sorted(found)
