"""`python -m pyrunc`."""

import sys

from pyrunc.cli import main

if __name__ == "__main__":
    sys.exit(main())
