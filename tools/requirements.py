"""Print the packages that pyproject.toml asks for, one a line.

    python tools/requirements.py [EXTRA]...

Those needed at run time and to build a wheel, and those of the extras named.
"""

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: The extras that pyrunc may use at run time.
RUNTIME = ("explain", "prctl", "netdev", "systemd", "seccomp")


def optional(project: "dict[str, Any]", extras: "Sequence[str]") -> list[str]:
    """The requirements of some extras of pyproject.toml's `project`."""
    return [each for extra in extras for each in project["optional-dependencies"][extra]]


def main() -> int:
    text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text()
    data = tomllib.loads(text)
    project = data["project"]
    wanted = [*data["build-system"]["requires"], *optional(project, RUNTIME), *optional(project, sys.argv[1:])]
    print("\n".join(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
