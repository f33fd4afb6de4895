"""Print the packages that pyproject.toml asks for, one a line.

    python tools/requirements.py [EXTRA]...

Those needed at run time and to build a wheel, and those of the extras named.
"""

import sys
import tomllib
from pathlib import Path


def main() -> int:
    text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text()
    data = tomllib.loads(text)
    project = data["project"]
    wanted = [*data["build-system"]["requires"], *project["dependencies"]]
    for extra in sys.argv[1:]:
        wanted += project["optional-dependencies"][extra]
    print("\n".join(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
