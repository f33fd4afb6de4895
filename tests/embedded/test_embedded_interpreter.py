"""The interpreter in the embedded form: a package of the tests' own in the place of pyrunc's.

What a saved process gets wrong is what belonged to the process that was saved: each of these has a test.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import build_embedded
from support import ROOT

pytestmark = pytest.mark.host

# What `pyrunc ...` does in these tests: `cli.main` evaluates its first argument and prints it.
CLI = """
import sys


def show(value):
    import json

    print(json.dumps(value))


def main():
    text = sys.argv[1]
    if text == "wait":
        import time

        import posix

        posix.write(1, b"ready")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return 99
    result = eval(text)
    if result is not None:
        show(result)
    return 7 if text == "None" else 0
"""


class Program:
    """An executable with CLI in it."""

    def __init__(self, directory: Path) -> None:
        package = directory / "pyrunc"
        package.mkdir()
        (package / "__init__.py").write_text("word = 'there'\n")
        (package / "cli.py").write_text(CLI)
        (package / "other.py").write_text("import pyrunc\nvalue = pyrunc.word\n")
        self.directory = directory
        self.package = package
        self.path = directory / "program"
        build_embedded.build(self.path, package, str(directory))
        (package / "file.py").write_text("where = __file__\n")

    def call(self, *words: str | bytes, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        options = {"env": {}, "cwd": "/", "check": False, "timeout": 30, **options}
        return subprocess.run([self.path, *words], capture_output=True, **options)

    def value(self, text: str, *words: str | bytes, **options: Any) -> Any:
        done = self.call(text, *words, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    try:
        return Program(tmp_path_factory.mktemp("embedded"))
    except build_embedded.Unavailable as error:
        pytest.skip(str(error))


def test_flags_are_those_of_the_script(program: Program) -> None:
    """`python -I -S`, and -B; PYTHON* in the environment says nothing."""
    names = ("isolated", "no_site", "no_user_site", "ignore_environment", "dont_write_bytecode")
    text = f"[getattr(sys.flags, name) for name in {names}]"
    environment = {"PYTHONOPTIMIZE": "2", "PYTHONPATH": "/nowhere", "PYTHONUTF8": "0"}
    assert program.value(text, env=environment) == [1] * 5
    assert program.value("sys.flags.optimize", env=environment) == 0
    assert "/nowhere" not in program.value("[__import__('json'), sys.path][1]", env=environment)


def test_arguments_that_are_no_text(program: Program) -> None:
    assert program.value("ascii(sys.argv[2])", b"\xff/\xc3\xa9") == ascii("\udcff/\u00e9")
    # The interpreter sets them again when it is completed.
    assert program.value("[__import__('json'), ascii(sys.argv[2])][1]", b"\xff") == ascii("\udcff")


def test_file_names_that_are_no_text(program: Program, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xc3\xa9"
    Path(os.fsdecode(name)).touch()
    code = "__import__('posix').stat(sys.argv[2]) is not None"
    assert program.value(code, name) is True


def test_standard_modules_come_from_their_files(program: Program) -> None:
    assert program.value("__import__('argparse').__file__").startswith(sys.base_prefix)
    assert program.value("__import__('importlib.util').util.find_spec('re').has_location") is True
    # A module of CPython's that it has frozen itself, and extension modules.
    assert program.value("__import__('os').path.join('a', 'b')") == "a/b"
    assert program.value("__import__('ctypes').sizeof(__import__('ctypes').c_int)") == 4
    assert program.value("__import__('decimal').Decimal('0.1').as_tuple().exponent") == -1


def test_modules_that_are_not_frozen_come_from_the_package(program: Program) -> None:
    file = program.value("__import__('pyrunc.file').file.where")
    assert file == str(program.directory / "pyrunc/file.py")


def test_modules_of_the_image_are_ordinary_ones(program: Program) -> None:
    assert program.value("__import__('pyrunc.other').other.value") == "there"
    text = (
        "[__import__('json'), (lambda m: [m.__name__, m.__package__, m.__file__, m.__spec__.name,"
        " sys.modules['pyrunc'].__path__])(__import__('pyrunc.other').other)][1]"
    )
    package = str(program.directory / "pyrunc")
    expected = ["pyrunc.other", "pyrunc", f"{package}/other.py", "pyrunc.other", [package]]
    assert program.value(text) == expected
    # What is a shared object elsewhere is built in.
    assert program.value("[name in sys.builtin_module_names for name in ('posix', '_json', 'termios')]") == [True] * 3


def test_exit_status(program: Program) -> None:
    assert program.call("None").returncode == 7


def test_an_exception_is_told(program: Program) -> None:
    done = program.call("1 / 0")
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr
    assert b"pyrunc/cli.py" in done.stderr


def test_builtins(program: Program) -> None:
    assert program.value("open('/proc/self/comm').read()") == "program\n"
    assert program.call("print('text')").stdout == b"text\n"


def test_output_is_written_at_the_end(program: Program) -> None:
    """The interpreter is not taken down, but what is buffered must not be lost."""
    done = program.call("sys.stdout.write('some text') and None")
    assert done.stdout == b"some text"


def test_signals(program: Program) -> None:
    """SIGPIPE and SIGXFSZ are ignored and SIGINT has a handler, as in any Python."""
    text = "open('/proc/self/status').read()"
    fields = dict(line.split(":\t") for line in program.value(text).splitlines() if ":\t" in line)
    ignored, caught = int(fields["SigIgn"], 16), int(fields["SigCgt"], 16)
    assert ignored == 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert caught == 1 << signal.SIGINT - 1


def test_an_interrupt(program: Program) -> None:
    process = subprocess.Popen([program.path, "wait"], stdout=subprocess.PIPE, env={})
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 99
    process.stdout.close()


def test_it_is_found_through_a_link(program: Program, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program.path)
    done = subprocess.run([link, "1"], capture_output=True, check=False, env={})
    assert done.stdout == b"1\n"


def test_signals_that_are_ignored_stay_so(program: Program) -> None:
    """nohup, and a shell's background jobs."""
    shell = f"trap '' HUP INT; exec {program.path} \"open('/proc/self/status').read()\""
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=True, env={})
    fields = dict(line.split(":\t") for line in json.loads(done.stdout).splitlines() if ":\t" in line)
    ignored, caught = int(fields["SigIgn"], 16), int(fields["SigCgt"], 16)
    assert ignored & (1 << signal.SIGHUP - 1)
    assert ignored & (1 << signal.SIGINT - 1)
    assert caught == 0


def test_the_environment_is_this_process_s(program: Program) -> None:
    environment = {"A": "1", "EMPTY": "", "TEXT": "\u00e9", "Z": "x=y"}
    assert program.value("dict(__import__('os').environ)", env=environment) == environment
    assert program.value("len(__import__('posix').environ)") == 0
    # What the environment of the build held is nowhere.
    assert b"PYTEST_CURRENT_TEST" not in program.path.read_bytes()


def test_the_time_zone_is_this_process_s(program: Program) -> None:
    text = "(lambda t: [t.tzname[0], t.timezone, t.strftime('%H', t.localtime(0))])(__import__('time'))"
    text = f"[__import__('argparse'), {text}][1]"
    assert program.value(text, env={"TZ": "XYZ-5"}) == ["XYZ", -18000, "05"]
    assert program.value(text, env={"TZ": "UTC0"}) == ["UTC", 0, "00"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX", "xx_YY.ISO-8859-1"])
def test_the_locale_says_nothing(locale: str, program: Program) -> None:
    text = "[sys.getfilesystemencoding(), sys.flags.utf8_mode, ascii(sys.argv[2])]"
    assert program.value(text, "\u00e9", env={"LC_ALL": locale}) == ["utf-8", 1, ascii("\u00e9")]


def test_threads_and_locks(program: Program) -> None:
    """They are made as in the child of a fork: by this process's C library."""
    text = "[t.main_thread().native_id, t.main_thread().ident == t.get_ident(), t.active_count()]"
    text = f"(lambda t: {text})(__import__('threading'))"
    process = subprocess.Popen([program.path, text], stdout=subprocess.PIPE, env={})
    output, _ = process.communicate(timeout=30)
    assert json.loads(output) == [process.pid, True, 1]
    text = "list(f.ThreadPoolExecutor(4).map(lambda n: sum(range(n)), range(50)))"
    text = f"(lambda f: {text})(__import__('concurrent.futures').futures)"
    assert program.value(text) == [sum(range(number)) for number in range(50)]
    text = "__import__('subprocess').run(['true']).returncode"
    assert program.value(text, env={"PATH": os.environ["PATH"]}) == 0


def test_a_limit_of_the_stack_is_this_process_s(program: Program) -> None:
    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, 256 << 10))

    text = "(lambda f: f(f, 200))(lambda f, n: 0 if not n else 1 + f(f, n - 1))"
    assert program.value(text) == 200
    assert program.value(text, preexec_fn=shrink) == 200


def test_descriptors(program: Program, tmp_path: Path) -> None:
    """None but the standard streams is open, and these are the caller's, in whatever state."""
    text = "[fd for fd in __import__('os').listdir('/proc/self/fd')]"
    assert set(program.value(text)) == {"0", "1", "2", "3"}  # the last is listdir's
    for stream in (0, 1, 2):
        done = subprocess.run([f"{program.path} None {stream}>&-"], shell=True, capture_output=True, env={})
        assert done.returncode == 7
    with open(tmp_path / "output", "w") as output:
        subprocess.run([program.path, "sys.stdout.write('a') and print('b')"], stdout=output, env={}, check=True)
    assert (tmp_path / "output").read_text() == "ab\n"


def test_memory_beyond_the_image(program: Program) -> None:
    """Large and many objects, and what the image's heap held grows on the C library's."""
    assert program.value("len(bytearray(100 << 20))") == 100 << 20
    assert program.value("len([str(n) for n in range(300000)])") == 300000
    assert program.value("[sys.modules.setdefault(f'm{n}', n) for n in range(5000)][-1]") == 4999


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 counts references to everything")
def test_references_to_what_is_in_the_image_are_not_counted(program: Program) -> None:
    """Each would be a write to its page."""
    for text in ("sys.modules['pyrunc.other']", "sys.modules['pyrunc.other'].__dict__", "show", "show.__code__"):
        assert program.value(f"sys.getrefcount({text}) == sys.getrefcount(None)"), text
    assert program.value("sys.getrefcount(object())") < 10


def test_the_same_bytes_from_the_same_inputs(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed of hashes is drawn where it is built, unless it is given, or a time that the build is to have."""
    (program.package / "file.py").unlink()
    try:
        outputs = [tmp_path / name for name in ("a", "b", "c", "d")]
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
        for output in outputs[:3]:
            build_embedded.build(output, program.package, str(program.directory))
        monkeypatch.delenv("SOURCE_DATE_EPOCH")
        build_embedded.build(outputs[3], program.package, str(program.directory))
        first, second, third, fourth = (output.read_bytes() for output in outputs)
        assert first == second == third
        assert first != fourth
    finally:
        (program.package / "file.py").write_text("where = __file__\n")


@pytest.mark.contains("code that others than root may write")
def test_files_that_others_may_write_are_not_executed(program: Program) -> None:
    file = program.package / "file.py"
    text = "__import__('pyrunc.file').file.where"
    assert program.value(text) == str(file)
    for path, mode in ((file, 0o646), (file, 0o1646), (program.package, 0o757), (program.package, 0o1757)):
        before = path.stat().st_mode & 0o7777
        path.chmod(mode)
        done = program.call(text)
        path.chmod(before)
        assert done.returncode == 1
        assert f"no code is loaded from {path}: others may write it" in done.stderr.decode()
    if os.geteuid() == 0:
        os.chown(file, 12345, 12345)
        done = program.call(text)
        os.chown(file, 0, 0)
        assert b"no code is loaded from" in done.stderr


def test_an_executable_gives_way_to_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what built it is no longer there."""
    output = tmp_path / "pyrunc"
    output.write_bytes(b"\x7fELF\xc0")
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    assert not build_embedded.build_or_script(output)
    assert output.read_text().startswith("#!")


def test_a_packager_can_demand_it(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": str(tmp_path / "cc"), "PYRUNC_FORM": "embedded"}
    command = [sys.executable, str(ROOT / "tools/build_embedded.py"), str(tmp_path / "pyrunc")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PYRUNC_FORM=embedded, but it cannot be had: no compiler" in done.stderr
    assert not (tmp_path / "pyrunc").exists()
    subprocess.run(command, env={**environment, "PYRUNC_FORM": "script"}, capture_output=True, check=True)
    assert (tmp_path / "pyrunc").read_text().startswith("#!")
