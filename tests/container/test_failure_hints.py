"""The hint beside a system call that the kernel does not have."""

import errno

import pytest

from pyrunc.kernel import refused
from pyrunc.kernel.refused import OLD_KERNEL
from pyrunc.setup.failures.step_errors import told


@pytest.mark.parametrize(
    ("call", "number", "hint"),
    [
        ("mount_setattr", errno.ENOSYS, OLD_KERNEL),
        ("mount_setattr", errno.EPERM, ""),
        ("set_mempolicy", errno.ENOSYS, "this kernel has no memory policies (CONFIG_NUMA)"),
        ("seccomp", errno.ENOSYS, "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"),
        ("set_mempolicy", errno.EINVAL, ""),
    ],
)
def test_hint(call: str, number: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "filtered", lambda: False)
    error = told("doing something", "/linux", call, call, number, "")
    assert error.hint == hint
    assert str(error).startswith(f"doing something (linux): {call}: ")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_hint_under_a_filter(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "filtered", lambda: True)
    assert "let it allow fsopen" in told("doing something", "", "fsopen", "fsopen", number, "").hint
    assert told("doing something", "", "fchownat", "fchownat", number, "").hint in ("", OLD_KERNEL)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EBUSY, "cgroup.subtree_control"),
        (errno.EAGAIN, "pids.max"),
        (errno.ENODEV, "removed meanwhile"),
        (errno.EOPNOTSUPP, "cgroup.type"),
        (errno.ENOSPC, "user.max_"),
    ],
)
def test_why_no_process_was_made(number: int, hint: str) -> None:
    assert hint in told("error creating the container's init", "", "clone3", "clone3", number, "clone").hint
    assert told("doing something", "", "openat", "openat", number, "").hint == ""
