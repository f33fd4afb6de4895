"""The hint beside a system call that the kernel does not have."""

import errno

import pytest

from pyrunc.setup.failures.step_errors import OLD_KERNEL, told


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
def test_hint(call: str, number: int, hint: str) -> None:
    error = told("doing something", "/linux", call, call, number, "")
    assert error.hint == hint
    assert str(error).startswith(f"doing something (linux): {call}: ")


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
