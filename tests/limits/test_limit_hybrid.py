"""Where cgroup v2 has no controllers because v1 has them: what is refused. test_limit_v1.py has what works."""

import os

import pytest

from limits.limit_base import Driver
from pyrunc.cgroups import detect

HOST = detect.detect()

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(HOST.mode != "hybrid" or os.geteuid() != 0, reason="needs root and a hybrid of v1 and v2"),
]


def test_the_systemd_driver_is_refused(cgroupfs: Driver) -> None:
    cgroupfs.runtime.flags.append("--systemd-cgroup")
    done = cgroupfs.runtime.run(cgroupfs.bundle({}), id="limit-hybrid")
    assert done.returncode == 1
    assert "the systemd driver needs cgroup v2: this host has cgroup v1" in done.stderr
    assert "or use the cgroupfs driver" in done.stderr
