"""Fixtures and markers for all tests.

The session takes a mount namespace of its own, so that nothing a test mounts, or forgets to
unmount, is seen outside. The environment variable RUNTIME names another runtime to test.

    runtime      Runtime: pyrunc with a state directory of its own, cleaned up afterwards
    oracles      dict of name to Runtime: runc and crun, those that are installed
    launcher     path of the program `pyrunc`
    bundle       factory: bundle({changes of the default config.json}) -> Bundle
    root_dir     a fresh state directory with a short path (sockets allow 107 bytes)
"""

import ctypes
import os
import platform
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import (
    IN_GUEST,
    IS_ROOT,
    PURE_V2,
    ROOT,
    SYSTEMD,
    Bundle,
    MakeBundle,
    Runtime,
    make_bundle,
)

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
# Python that decides, and no container: what these say is the same on every machine, so the guest, which is
# slower, does not say it again unless it is asked for everything (--everywhere).
SAME_ANYWHERE = ("cli", "config", "conformance", "engines", "features", "packaging", "project", "test_layers.py")
# Of the C library's threads: sigaction(3) refuses them, and posix_spawn(3) leaves them ignored.
LIBC_SIGNALS = (32, 33)


def pytest_configure(config: pytest.Config) -> None:
    """Leave the caller's mount namespace before any test, or thread, exists; and what the caller ignores.

    runc passes ignored signals on to its containers. A test that wants one ignored says so.
    """
    if IN_GUEST:
        config.pluginmanager.register(NoSkips())
    libc = ctypes.CDLL(None, use_errno=True)
    default_signals(libc)
    if not IS_ROOT:
        return
    if libc.unshare(CLONE_NEWNS):
        raise pytest.UsageError(f"unshare: {os.strerror(ctypes.get_errno())}")
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        raise pytest.UsageError(f"mount /: {os.strerror(ctypes.get_errno())}")


def default_signals(libc: ctypes.CDLL) -> None:
    """Have no signal ignored that Python does not ignore by itself."""
    for number in set(signal.Signals) - {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    sigaction = SYS_RT_SIGACTION.get(platform.machine())
    if sigaction is None:
        return
    for internal in LIBC_SIGNALS:
        # struct sigaction begins with the handler. The library's own handler, in a program with threads, stays.
        action = ctypes.create_string_buffer(64)
        if libc.syscall(sigaction, internal, None, action, 8):
            raise pytest.UsageError(f"sigaction {internal}: {os.strerror(ctypes.get_errno())}")
        if int.from_bytes(action.raw[:8], sys.byteorder) == signal.SIG_IGN:
            libc.syscall(sigaction, internal, ctypes.create_string_buffer(64), None, 8)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard",
        metavar="N/OF",
        default="1/1",
        help="run only the Nth of OF parts of the tests, for machines that run at once",
    )
    parser.addoption(
        "--everywhere",
        action="store_true",
        help="in the guest machine, run also the tests that say the same on every machine",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take this run's part of the tests; skip what the machine cannot show, with the reason."""
    part, _, parts = str(config.getoption("--shard")).partition("/")
    repeated = not IN_GUEST or config.getoption("--everywhere")
    wanted: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        same = item.path.relative_to(ROOT / "tests").parts[0] in SAME_ANYWHERE
        (wanted if repeated or not same else others).append(item)
    # Neighbours stay together, since they often share what a fixture keeps.
    mine: list[pytest.Item] = []
    for number, item in enumerate(wanted):
        (mine if number // 8 % int(parts) == int(part) - 1 else others).append(item)
    if others:
        items[:] = mine
        config.hook.pytest_deselected(items=others)
    for item in items:
        if item.get_closest_marker("guest") and not (PURE_V2 and SYSTEMD and IS_ROOT):
            item.add_marker(pytest.mark.skip(reason="needs root, pure cgroup v2 and systemd"))
        if item.get_closest_marker("qemu") and IN_GUEST != "qemu":
            item.add_marker(pytest.mark.skip(reason="needs the guest under qemu"))
        if item.get_closest_marker("host") and IN_GUEST:
            item.add_marker(pytest.mark.skip(reason="is about the development machine"))


class NoSkips:
    """In the guest machine every test runs, but those marked as belonging elsewhere: a skip is a failure."""

    def __init__(self) -> None:
        self.uncollected: list[str] = []
        self.elsewhere = {"host", "qemu"} - {IN_GUEST}

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        report = (yield).get_result()
        marked = any(item.get_closest_marker(name) for name in self.elsewhere)
        if report.skipped and not hasattr(report, "wasxfail") and not marked:
            report.outcome = "failed"
            report.longrepr = f"skipped in the guest, where nothing may be skipped: {report.longrepr[2]}"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.uncollected.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.uncollected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        if self.uncollected:
            terminalreporter.section("skipped in the guest, where nothing may be skipped")
            for nodeid in self.uncollected:
                terminalreporter.line(nodeid)


@pytest.fixture(scope="session")
def launcher() -> str:
    """The program under test."""
    program = os.environ.get("RUNTIME") or str(ROOT / ".venv/bin/pyrunc")
    found = shutil.which(program)
    if not found:
        pytest.fail(f"{program} does not exist: make setup")
    return os.path.abspath(found)


@pytest.fixture
def root_dir() -> Iterator[Path]:
    """A fresh state directory with a short path, removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="pyrunc-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def runtime(launcher: str, root_dir: Path) -> Iterator[Runtime]:
    """pyrunc; what it creates is deleted afterwards."""
    it = Runtime(launcher, root_dir / "pyrunc")
    yield it
    it.clean()


@pytest.fixture
def oracles(root_dir: Path) -> Iterator[dict[str, Runtime]]:
    """The other runtimes that are installed, by name, each with a state directory."""
    found = {name: Runtime(program, root_dir / name) for name in ("runc", "crun") if (program := shutil.which(name))}
    yield found
    for it in found.values():
        it.clean()


@pytest.fixture
def bundle(tmp_path: Path) -> MakeBundle:
    """Make bundles below the test's directory: `bundle({"process": {"args": ["id"]}})`.

    The argument is merged into support.DEFAULT_CONFIG, object by object.
    """
    count = 0

    def make(changes: dict[str, Any] | None = None) -> Bundle:
        nonlocal count
        count += 1
        # A user namespace's root has to be able to reach the root file system.
        for directory in (tmp_path, *tmp_path.parents[:3]):
            mode = stat.S_IMODE(directory.stat().st_mode)
            if directory.stat().st_uid == os.geteuid() and mode & 0o011 != 0o011:
                directory.chmod(mode | 0o011)
        return make_bundle(tmp_path / f"bundle{count}", changes)

    return make


@pytest.fixture
def needs_root() -> None:
    """Skip the test unless it runs as root."""
    if not IS_ROOT:
        pytest.skip("needs root")


@pytest.fixture
def needs_v2() -> None:
    """Skip the test where cgroup v2 is not the one hierarchy, or belongs to someone else."""
    if not PURE_V2:
        pytest.skip("needs pure cgroup v2")
    if not IS_ROOT:
        pytest.skip("needs root")


@pytest.fixture
def needs_hybrid() -> None:
    """Skip the test where cgroup v2 can be used."""
    if PURE_V2:
        pytest.skip("needs a machine without usable cgroup v2")
