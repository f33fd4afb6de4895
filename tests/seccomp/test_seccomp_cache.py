"""The cache of compiled filters: what is kept, what is refused, and what a hit imports."""

import os
import posix
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.seccomp import COMPILER, cache, filter_for
from pyrunc.seccomp import compile as compiler

pytest.importorskip("pyseccomp")

PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "exit"], "action": "SCMP_ACT_ALLOW"}],
}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's directory, in a place of its own."""
    monkeypatch.setattr(cache, "SYSTEM", str(tmp_path))
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", os.fsencode(tmp_path))
    return tmp_path / cache.NAME


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The profiles that were compiled, in order."""
    calls: list[Any] = []
    original = compiler.program

    def program(profile: Any, pointer: str) -> bytes:
        calls.append(profile)
        return original(profile, pointer)

    monkeypatch.setattr(compiler, "program", program)
    return calls


def entry(directory: Path) -> Path:
    (only,) = directory.iterdir()
    return only


def test_the_second_time_nothing_is_compiled(directory: Path, compiled: list[Any]) -> None:
    first = filter_for(PROFILE)
    second = filter_for(dict(PROFILE))
    assert len(compiled) == 1
    assert first.program == second.program
    assert len(first.program) % 8 == 0
    assert first.program
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert entry(directory).stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_KILL"},
        {"defaultErrnoRet": 5},
        {"architectures": ["SCMP_ARCH_X86"] if os.uname().machine == "x86_64" else []},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_profile_is_another_entry(compiled: list[Any], change: dict[str, Any]) -> None:
    filter_for(PROFILE)
    filter_for({**PROFILE, **change})
    assert len(compiled) == 1 + bool(next(iter(change.values())))


def test_what_does_not_change_the_program_does_not_change_the_entry(compiled: list[Any]) -> None:
    filter_for(PROFILE)
    plain = filter_for({**PROFILE, "listenerPath": "/x"})
    filter_for({**PROFILE, "flags": ["SECCOMP_FILTER_FLAG_LOG"]})
    # The same words as other objects: marshal must not tell interned strings from others.
    copy = [{"names": ["".join(list("read")), "exit"], "action": "SCMP_ACT_" + "ALLOW"[:]}]
    filter_for({**PROFILE, "syscalls": copy})
    assert len(compiled) == 1
    assert (plain.listener, plain.listener_path) == (False, "")


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 31, 32, 80, -1])
def test_a_damaged_entry_is_compiled_again(directory: Path, compiled: list[Any], at: int) -> None:
    first = filter_for(PROFILE)
    damage(entry(directory), at)
    assert filter_for(PROFILE).program == first.program
    assert len(compiled) == 2
    filter_for(PROFILE)
    assert len(compiled) == 2


@pytest.mark.parametrize("length", [0, 1, 32, 40, 100])
def test_a_short_entry_is_compiled_again(directory: Path, compiled: list[Any], length: int) -> None:
    filter_for(PROFILE)
    path = entry(directory)
    path.write_bytes(path.read_bytes()[:length])
    filter_for(PROFILE)
    assert len(compiled) == 2


def test_an_entry_under_another_name_is_no_answer(directory: Path, compiled: list[Any]) -> None:
    """A filter that allows more, put in place of one that allows less."""
    allowing = filter_for({**PROFILE, "defaultAction": "SCMP_ACT_ALLOW"})
    content = entry(directory).read_bytes()
    filter_for(PROFILE)
    for path in directory.iterdir():
        path.write_bytes(content)
    assert filter_for(PROFILE).program != allowing.program
    assert len(compiled) == 3


def test_another_library_is_another_compiler(
    directory: Path, tmp_path: Path, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libseccomp.so.2"
    library.write_bytes(b"1")
    monkeypatch.setattr(compiler, "library", lambda: (str(library), "2.5.4"))
    filter_for(PROFILE)
    filter_for(PROFILE)
    assert len(compiled) == 1
    (tmp_path / "new").write_bytes(b"2")
    (tmp_path / "new").rename(library)
    filter_for(PROFILE)
    filter_for(PROFILE)
    assert len(compiled) == 2
    library.unlink()
    filter_for(PROFILE)
    assert len(compiled) == 3


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_open_to_others_is_not_used(directory: Path, compiled: list[Any], mode: int) -> None:
    filter_for(PROFILE)
    directory.chmod(mode)
    filter_for(PROFILE)
    assert len(compiled) == 2


def test_an_entry_open_to_others_is_not_used(directory: Path, compiled: list[Any]) -> None:
    filter_for(PROFILE)
    entry(directory).chmod(0o640)
    filter_for(PROFILE)
    assert len(compiled) == 2
    assert entry(directory).stat().st_mode & 0o7777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("what", ["directory", "entry"])
def test_what_belongs_to_another_is_not_used(directory: Path, compiled: list[Any], what: str) -> None:
    filter_for(PROFILE)
    os.chown(directory if what == "directory" else entry(directory), 12345, 12345)
    filter_for(PROFILE)
    assert len(compiled) == 2


def test_links_and_fifos_are_not_followed(directory: Path, tmp_path: Path, compiled: list[Any]) -> None:
    filter_for(PROFILE)
    path = entry(directory)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    filter_for(PROFILE)
    assert len(compiled) == 2
    path.unlink()
    os.mkfifo(path, 0o600)
    filter_for(PROFILE)
    assert len(compiled) == 3
    assert path.is_file()
    directory.rename(tmp_path / "moved")
    directory.symlink_to(tmp_path / "moved")
    filter_for(PROFILE)
    assert len(compiled) == 4


def test_without_a_place_filters_are_compiled_each_time(monkeypatch: pytest.MonkeyPatch, compiled: list[Any]) -> None:
    monkeypatch.setattr(cache, "SYSTEM", "/nonexistent")
    monkeypatch.delitem(posix.environ, b"XDG_RUNTIME_DIR")
    assert filter_for(PROFILE).program == filter_for(PROFILE).program
    assert len(compiled) == 2


def test_root_of_a_user_namespace_uses_its_own_directory(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[Any]
) -> None:
    """Where /run is the real root's, the runtime directory of the user is next."""
    monkeypatch.setattr(cache, "SYSTEM", "/proc/self")
    filter_for(PROFILE)
    filter_for(PROFILE)
    assert len(compiled) == 1
    assert entry(directory).is_file()


def test_the_cache_does_not_grow_without_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ENTRIES", 5)
    for code in range(12):
        filter_for({**PROFILE, "defaultErrnoRet": code})
        assert len(list(directory.iterdir())) <= 5


def test_what_a_killed_writer_left_does_not_hinder(directory: Path, compiled: list[Any]) -> None:
    filter_for(PROFILE)
    path = entry(directory)
    path.rename(f"{path}.{os.getpid()}")
    filter_for(PROFILE)
    filter_for(PROFILE)
    filter_for(PROFILE)
    assert len(compiled) == 3
    assert entry(directory) == path


def test_a_refused_profile_is_not_kept(directory: Path) -> None:
    for _ in range(2):
        with pytest.raises(Error):
            filter_for({**PROFILE, "defaultAction": "SCMP_ACT_NOTIFY"})
    assert not directory.exists()


FLAGS: list[tuple[Any, int]] = [
    (None, 4),
    ([], 0),
    (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
    (["SECCOMP_FILTER_FLAG_LOG"], 2),
    (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
    (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
    (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
]


@pytest.mark.parametrize(("words", "flags"), FLAGS)
def test_flags(words: Any, flags: int) -> None:
    assert filter_for({**PROFILE, "flags": words}).flags == flags


def test_no_flags_at_all_is_speculation_allowed() -> None:
    assert filter_for(PROFILE).flags == 4


NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/run/agent.sock",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
}


def test_flags_with_a_listener() -> None:
    words = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]
    assert filter_for({**NOTIFYING, "flags": words}).flags == 8 | 32


def test_unknown_flag() -> None:
    with pytest.raises(Error) as caught:
        filter_for({**PROFILE, "flags": ["SECCOMP_FILTER_FLAG_LOG", "X"]}, pointer="/s")
    assert (caught.value.message, caught.value.pointer) == (
        'seccomp: unknown flag "X"',
        "/s/flags/1",
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "seccomp: listenerPath is not set"),
        ("@abstract", "seccomp: listenerPath is not absolute: @abstract"),
    ],
)
def test_notify_needs_an_agent(path: Any, text: str) -> None:
    with pytest.raises(Error) as caught:
        filter_for({**NOTIFYING, "listenerPath": path})
    assert caught.value.message == text
    assert caught.value.pointer == "/linux/seccomp/listenerPath"


def test_a_hit_obeys_the_import_budget(tmp_path: Path) -> None:
    filter_for(PROFILE)
    program = (
        "import sys; before = set(sys.modules); sys.path[:0] = [sys.argv[1]]\n"
        "from pyrunc import seccomp\n"
        "seccomp.cache.SYSTEM = sys.argv[2]\n"
        f"assert seccomp.filter_for({PROFILE!r}).program\n"
        "print(sorted(set(sys.modules) - before - {'pyrunc'}))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", program, str(root), str(tmp_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert set(eval(result.stdout)) <= {
        "pyrunc.config",
        "pyrunc.config.annotation_names",
        "_blake2",
        "_struct",
        "pyrunc.errors",
        "pyrunc.log",
        "pyrunc.seccomp",
        "pyrunc.seccomp.cache",
        "pyrunc.seccomp.names",
    }


def test_the_library_is_known() -> None:
    path, version = compiler.library()
    assert Path(path).is_file()
    assert "libseccomp.so" in path
    assert [int(part) for part in version.split(".")] >= [2, 5, 0]
    assert COMPILER > 0
