"""Nobody beside a container in the making gets at the host through it (docs/security.md, "Who can see us").

Before processes of pyrunc's hid from their first instruction on, the attacker got the host's root directory in every
run with a user namespace: thousands of times in ten seconds.
"""

import shutil
import subprocess
import sys

import pytest

from support import IS_ROOT, ROOT


@pytest.mark.parametrize("place", ["shared", "host"])
def test_an_attacker_beside_every_kind_of_container(place: str, launcher: str) -> None:
    if not IS_ROOT:
        pytest.skip("needs root")
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    command = [sys.executable, "-m", "security.attack", "--runtime", launcher, "--places", place, "--seconds", "7"]
    done = subprocess.run(command, check=False, cwd=ROOT / "tests", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
