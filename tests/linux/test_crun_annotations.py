"""Annotations that crun gives a meaning to, and engines set for it (crun(1), "Extensions to OCI")."""

import os
import socket
from pathlib import Path

import pytest

from support import MakeBundle, Runtime

pytestmark = pytest.mark.usefixtures("needs_root")


def test_pidfd_receiver(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    path = f"{root_dir}/pidfd"
    it = bundle(
        {
            "annotations": {"run.oci.pidfd_receiver": path},
            "process": {"args": ["/bin/sleep", "100"]},
        }
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(10)
        id = runtime.create(it)
        connection, _ = server.accept()
        with connection:
            _, (pidfd,), _, _ = socket.recv_fds(connection, 100, 2)
    info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    assert f"Pid:\t{runtime.state(id)['pid']}\n" in info
