"""Type a page: python3 tutorial.py PAGE. Its ```sh blocks are given to a shell, line after line, in the directory where
this is called; each line of a ```text block has to appear in what the block before it printed, in this order.

Prints what was typed and what came. Exit status: 0, or 1 with the line that did not appear.
"""

import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """(what is typed, the lines that have to appear), in the order of the page."""
    found: list[tuple[str, list[str]]] = []
    for kind, text in BLOCK.findall(page):
        if kind == "sh":
            found.append((text, []))
        else:
            found[-1][1].extend(text.splitlines())
    return found


def missing(said: str, expected: list[str]) -> str:
    """The first expected line that is not in what was said after those before it; "" if all are."""
    place = 0
    for line in expected:
        place = said.find(line, place)
        if place < 0:
            return line
        place += len(line)
    return ""


def main() -> int:
    for typed, expected in blocks(Path(sys.argv[1]).read_text()):
        print(f"$ {typed}", end="", flush=True)
        done = subprocess.run(
            ["sh", "-ec", typed],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        line = missing(done.stdout, expected)
        if done.returncode or line:
            print(f"tutorial: exit status {done.returncode}; {line!r} did not appear")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
