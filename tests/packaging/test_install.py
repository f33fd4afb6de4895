"""`make install` gives a pyrunc that needs neither the checkout nor an environment."""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from support import ROOT, MakeBundle, Runtime, unique_id

COMPLETIONS = (
    "bash-completion/completions/pyrunc",
    "zsh/site-functions/_pyrunc",
    "fish/vendor_completions.d/pyrunc.fish",
)

pytestmark = [pytest.mark.host, pytest.mark.slow]

variables = sysconfig.get_config_vars()
STATIC_LIBRARY = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"

# Imported by an installed pyrunc's own interpreter, as cold code does it.
IMPORTS = """\
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc import thirdparty
thirdparty.enable()
import jeepney, jsonschema, prctl, pyroute2, pyseccomp
for module in jeepney, jsonschema, prctl, pyroute2, pyseccomp:
    print(module.__file__)
"""


def needs_environment() -> None:
    if not (ROOT / ".venv/made-for-run").exists():
        pytest.skip("needs the environment that `make setup` makes")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with nothing built."""
    needs_environment()
    source = tmp_path_factory.mktemp("source") / "source"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "rootfs", "__pycache__", "build", "pyrunc-init", "_validator.py", ".*_cache"
    )
    shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
    (source / ".venv").symlink_to(ROOT / ".venv")
    return source


@pytest.fixture(scope="module")
def prefix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that pyrunc has been installed to, twice."""
    prefix = tmp_path_factory.mktemp("install") / "prefix"
    for _ in range(2):
        make(source, "install", prefix)
    return prefix


def make(source: Path, target: str, prefix: Path, destdir: str = "", **environment: str) -> None:
    done = start(source, target, prefix, destdir, **environment)
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors


def start(source: Path, target: str, prefix: Path, destdir: str = "", **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [".venv/bin/python", "tools/install.py", target, destdir, str(prefix)],
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def home(prefix: Path) -> Path:
    """Where the installation is that is used."""
    program = (prefix / "bin/pyrunc").resolve()
    assert program.parts[-4:-3] == ("pyrunc",)
    return program.parent.parent


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())


def test_runs_with_an_empty_environment(prefix: Path) -> None:
    for program in (prefix / "bin/pyrunc", home(prefix) / "bin/pyrunc"):
        done = subprocess.run([program, "--version"], env={}, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "spec: 1.3" in done.stdout
        assert re.search(r"^build: [\w -]+, .+, \w+$", done.stdout, re.MULTILINE), done.stdout


def test_is_the_embedded_form(prefix: Path) -> None:
    """Where this Python has its static library; a script's first line names an interpreter."""
    program = prefix / "bin/pyrunc"
    if not STATIC_LIBRARY.exists():
        first = program.read_text().splitlines()[0]
        interpreter, flags = first.removeprefix("#!").split()
        assert flags == "-IS"
        assert os.path.isabs(interpreter)
        assert os.path.realpath(interpreter) == interpreter
        assert not Path(interpreter).is_relative_to(prefix)
        return
    data = program.read_bytes()
    assert data.startswith(b"\x7fELF")
    assert str(ROOT).encode() not in data, "the checkout is named in what is installed"


def test_cold_modules_are_found(prefix: Path) -> None:
    """jsonschema, from the installation's own packages, explains what is wrong."""
    bundle = prefix / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": 7}}')
    done = subprocess.run(
        [prefix / "bin/pyrunc", "plan", bundle],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "root/path" in done.stderr
    assert "internal error" not in done.stderr
    shutil.rmtree(bundle)


def test_a_copy_elsewhere_works(prefix: Path, tmp_path: Path) -> None:
    """podman's tests copy the runtime and call the copy: it finds what it needs where the original is installed."""
    if not STATIC_LIBRARY.exists():
        pytest.skip(f"no embedded form: {STATIC_LIBRARY} is not there")
    program = tmp_path / "runtime-of-another-name"
    shutil.copy2(os.path.realpath(prefix / "bin/pyrunc"), program)
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": 7}}')
    done = subprocess.run([program, "plan", bundle], env={}, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "root/path" in done.stderr
    assert "internal error" not in done.stderr


def test_everything_is_in_place(prefix: Path) -> None:
    site = next((home(prefix) / "lib").glob("python3.*/site-packages"))
    package = site / "pyrunc"
    assert os.access(package / "machine/pyrunc-init", os.X_OK)
    assert (package / "config/schema/_validator.py").exists()
    assert {file.name for file in (package / "schemas").glob("*.json")} == {
        file.name for file in (ROOT / "schemas").glob("*.json")
    }
    for module in package.rglob("*.py"):
        compiled = list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-3*.pyc"))
        assert compiled, f"{module} is not compiled"
    assert not list(site.glob("pytest*")), "the tests' packages stay behind"


def test_dependencies_come_along(prefix: Path) -> None:
    """But for python-prctl, which the executable does not need."""
    site = next((home(prefix) / "lib").glob("python3.*/site-packages"))
    interpreter = f"/usr/bin/{site.parent.name}"
    code = IMPORTS if not STATIC_LIBRARY.exists() else IMPORTS.replace("prctl, ", "")
    command = [interpreter, "-IS", "-c", code, str(site)]
    done = subprocess.run(command, env={}, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.split())
    assert bool(list(site.glob("*prctl*"))) != STATIC_LIBRARY.exists()


def test_manual_pages_and_completions(prefix: Path) -> None:
    for name in ("man/man8/pyrunc.8", "man/man5/pyrunc-config.5", *COMPLETIONS):
        assert (prefix / "share" / name).read_text()


def test_python_reads_the_executable_as_the_script(prefix: Path) -> None:
    """What the kernel took for a script may be the executable when Python opens it."""
    interpreter = f"/usr/bin/{next((home(prefix) / 'lib').iterdir()).name}"
    words = [interpreter, "-IS", str(prefix / "bin/pyrunc"), "--version"]
    done = subprocess.run(words, env={}, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "form: script" in done.stdout


def test_two_installations_are_kept(source: Path, prefix: Path) -> None:
    """The one before stays, an older one only while a process uses it."""
    for number in ("1", "2"):
        assert (prefix / "lib/pyrunc" / number).is_dir()
    shutil.copy2("/bin/sleep", prefix / "lib/pyrunc/1/bin/sleep")
    user = subprocess.Popen([prefix / "lib/pyrunc/1/bin/sleep", "600"])
    try:
        make(source, "install", prefix, PYRUNC_FORM="script")
        assert {path.name for path in (prefix / "lib/pyrunc").iterdir()} == {".lock", "1", "2", "3"}
    finally:
        user.kill()
        user.wait()
    make(source, "install", prefix)
    assert {path.name for path in (prefix / "lib/pyrunc").iterdir()} == {".lock", "3", "4"}
    assert home(prefix).name == "4"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "compiler"])
def test_the_old_one_stays_when_it_fails(how: object, source: Path, prefix: Path, tmp_path: Path) -> None:
    before = (prefix / "bin/pyrunc").resolve()
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\n: >"$0.started"\nexec sleep 600\n' if how != "compiler" else "#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    process = start(source, "install", prefix, CC=str(compiler))
    if isinstance(how, signal.Signals):
        wait_for(lambda: Path(f"{compiler}.started").exists())
        # As a terminal does it, to all of them.
        os.killpg(process.pid, how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert (prefix / "bin/pyrunc").resolve() == before
    assert (
        subprocess.run([prefix / "bin/pyrunc", "--version"], env={}, capture_output=True, check=False).returncode == 0
    )
    left = [path.name for path in (prefix / "lib/pyrunc").glob(".new*")]
    assert not left or how == signal.SIGKILL


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_engines_go_on_while_it_is_installed(
    source: Path, prefix: Path, bundle: MakeBundle, root_dir: Path, needs_root: None
) -> None:
    """At no moment is there no runtime: containers come and go while both forms are installed over each other."""
    runtime = Runtime(str(prefix / "bin/pyrunc"), root_dir)
    path = str(bundle({"process": {"args": ["/bin/sleep", "600"]}}).path)
    failures: list[str] = []
    rounds = 0
    done = threading.Event()

    def command(*words: str) -> None:
        # A file, since a container holds its output open.
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(
                runtime.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            )
            if ended.returncode:
                output.seek(0)
                raise OSError(f"{words}: {ended.returncode}: {output.read().decode(errors='replace')}")

    def engine() -> None:
        nonlocal rounds
        while not done.is_set():
            id = runtime.new_id(unique_id())
            try:
                command("create", "--bundle", path, id)
                command("start", id)
                command("exec", id, "/bin/true")
                command("state", id)
                command("kill", id, "KILL")
                command("delete", "--force", id)
            except (OSError, subprocess.TimeoutExpired) as error:
                failures.append(str(error))
                return
            rounds += 1

    def went_on(since: int) -> bool:
        return rounds > since or bool(failures)

    thread = threading.Thread(target=engine)
    thread.start()
    try:
        for form in ("script", "", "script", ""):
            seen = rounds
            make(source, "install", prefix, PYRUNC_FORM=form)
            wait_for(partial(went_on, seen))
    finally:
        done.set()
        thread.join()
        runtime.clean()
    assert not failures
    assert rounds > 4


def test_a_staging_directory_is_nowhere_in_it(source: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    make(source, "install", Path("/usr"), str(staging), LIBRARIES="system")
    found = [path for path in files(staging) if str(tmp_path).encode() in path.read_bytes()]
    assert not found
    assert (staging / "usr/bin/pyrunc").resolve() == staging / "usr/lib/pyrunc/1/bin/pyrunc"
    assert not list(staging.rglob("jsonschema"))
    # Tracebacks name files where they will be.
    compiled = next(staging.rglob("explain.*.pyc")).read_bytes()
    assert b"/usr/lib/pyrunc/1/lib/python3" in compiled
    make(source, "uninstall", Path("/usr"), str(staging))
    assert not list((staging / "usr").iterdir())


def test_one_of_before_there_were_numbers_is_replaced(source: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    old = prefix / "lib/pyrunc"
    for name in ("bin/pyrunc", "lib/python3.11/site-packages/pyrunc/cli.py", "pyvenv.cfg"):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).touch()
    page = prefix / "share/man/man8/pyrunc-gone.8"
    page.parent.mkdir(parents=True)
    page.touch()
    (old / "man-pages").write_text("man8/pyrunc-gone.8\n")
    (prefix / "bin").mkdir()
    (prefix / "bin/pyrunc").symlink_to(old / "bin/pyrunc")
    make(source, "install", prefix, PYRUNC_FORM="script")
    assert home(prefix).name == "1"
    assert not page.exists()
    make(source, "install", prefix, PYRUNC_FORM="script")
    assert {path.name for path in old.iterdir()} == {".lock", "1", "2"}


def test_uninstall_removes_it(source: Path, prefix: Path) -> None:
    """Runs last: what is left are files of others."""
    other = prefix / "bin/other"
    other.touch()
    make(source, "uninstall", prefix)
    assert list(prefix.rglob("*")) == [prefix / "bin", other]
