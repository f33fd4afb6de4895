"""The interpreter in the embedded form: a package of the tests' own in the place of pyrunc's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import build_embedded
import freeze

pytestmark = pytest.mark.host

# What `pyrunc ...` does in these tests: `cli.main` evaluates its first argument and prints it.
CLI = '''
import sys


def show(value):
    """Print as JSON, by the interpreter's own way or, before it is complete, by posix."""
    import json

    print(json.dumps(value))


class Thing:
    def method(self, a, b=2, /, c=3, *rest, d, e=5, **more):
        """A function that is only loaded when it is called, as it is long and not in hot.txt."""
        total = [self.name, a, b, c, list(rest), d, e, more]
        total.append(sum(value for value in (a, b, c, d, e) if isinstance(value, int)))
        total.append("long" if len(total) > 5 else "short")
        return total

    name = "thing"


def numbers(limit):
    for number in range(limit):
        value = number * number + limit
        value -= limit
        value += sum((1, 2, 3)) - sum((3, 2, 1))
        yield value


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
'''


class Program:
    """An executable with CLI in it."""

    def __init__(self, directory: Path) -> None:
        package = directory / "pyrunc"
        package.mkdir()
        (package / "__init__.py").write_text("word = 'there'\n")
        (package / "cli.py").write_text(CLI)
        (package / "other.py").write_text("import pyrunc\nvalue = pyrunc.word\n")
        self.directory = directory
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
    called = {"pyrunc.cli:main", "pyrunc.cli:show"}
    patch = pytest.MonkeyPatch()
    patch.setattr(freeze, "HOT", {"hot": ("pyrunc.other",)})
    patch.setattr(freeze, "hot_functions", lambda: called)
    try:
        return Program(tmp_path_factory.mktemp("embedded"))
    except build_embedded.Unavailable as error:
        pytest.skip(str(error))
    finally:
        patch.undo()


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


@pytest.mark.parametrize("words", [(), ("hot",)], ids=["by importlib", "made at once"])
def test_frozen_modules_are_ordinary_ones(program: Program, words: tuple[str, ...]) -> None:
    text = "__import__('pyrunc.other').other.value"
    assert program.value(text, *words) == "there"
    text = (
        "(lambda m: [m.__name__, m.__package__, m.__file__, m.__spec__.name, m.__spec__.origin,"
        " sys.modules['pyrunc'].__path__])(__import__('pyrunc.other').other)"
    )
    package = str(program.directory / "pyrunc")
    file = f"{package}/other.py"
    expected = ["pyrunc.other", "pyrunc", file, "pyrunc.other", file, [package]]
    assert program.value(text, *words) == expected
    # C modules that were made at once too.
    text = "[__import__(name).__spec__.name for name in ('posix', '_json', 'fcntl')]"
    assert program.value(text, *words) == ["posix", "_json", "fcntl"]


def test_functions_that_are_loaded_late_take_all_arguments(program: Program) -> None:
    assert program.value("Thing().method(1, d=4)") == ["thing", 1, 2, 3, [], 4, 5, {}, 15, "long"]
    text = "Thing().method(1, 7, 8, 9, 10, d=4, e='x', a=0)"
    expected = ["thing", 1, 7, 8, [9, 10], 4, "x", {"a": 0}, 20, "long"]
    assert program.value(text) == expected
    assert program.value("[Thing().method(n, d=0)[1] for n in range(3)]") == [0, 1, 2]
    assert program.value("list(numbers(4))") == [0, 1, 4, 9]
    done = program.call("Thing().method()")
    assert b"TypeError" in done.stderr
    assert b"missing 1 required" in done.stderr


def test_late_functions_were_taken_out(program: Program) -> None:
    """Else the tests above show nothing."""
    assert "__thaw__" in program.value("list(Thing.method.__code__.co_names)")
    assert "__thaw__" in program.value("list(numbers.__code__.co_names)")
    assert "__thaw__" not in program.value("list(main.__code__.co_names)")


def test_exit_status(program: Program) -> None:
    assert program.call("None").returncode == 7


def test_an_exception_is_told(program: Program) -> None:
    done = program.call("1 / 0")
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr
    assert b"pyrunc/cli.py" in done.stderr


def test_builtins_that_need_the_complete_interpreter(program: Program) -> None:
    assert program.value("open('/proc/self/comm').read()", "hot") == "program\n"
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


def test_an_interrupt_before_the_interpreter_is_complete(program: Program) -> None:
    process = subprocess.Popen([program.path, "wait", "hot"], stdout=subprocess.PIPE, env={})
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


def test_an_executable_gives_way_to_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what built it is no longer there."""
    output = tmp_path / "pyrunc"
    output.write_bytes(b"\x7fELF\xc0")
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    assert not build_embedded.build_or_script(output)
    assert output.read_text().startswith("#!")
