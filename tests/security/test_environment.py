"""What the caller's environment and working directory can do to pyrunc itself: nothing.

The hazards of an interpreter: modules from PYTHONPATH, from the working directory (a bundle is the image author's) and
from the user's site; and variables that Python sets in its own environment, which hooks would inherit.
"""

import os
import subprocess
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MODULES = (
    *("json", "os", "re", "socket", "encodings", "sitecustomize", "usercustomize", "site", "pyrunc", "jsonschema"),
    *("typing", "traceback", "warnings", "linecache", "_json", "posixpath", "shutil", "subprocess", "prctl", "attr"),
)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A directory of modules that say that they were imported, by a file beside it."""
    where = tmp_path / "trap"
    where.mkdir()
    told = f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n"
    for name in MODULES:
        (where / f"{name}.py").write_text(told)
    (where / "startup.py").write_text(told)
    site = tmp_path / "home/.local/lib"
    for version in range(8, 16):
        packages = site / f"python3.{version}/site-packages"
        packages.mkdir(parents=True)
        (packages / "trap.pth").write_text(f"import os; {told}")
        (packages / "usercustomize.py").write_text(told)
    return where


@pytest.mark.contains(
    "modules from PYTHONPATH, the working directory or the user's site; variables that Python sets",
    "isolated, without site; the environment is never changed",
)
def test_modules_of_others(runtime: Runtime, bundle: MakeBundle, trap: Path, tmp_path: Path) -> None:
    it = bundle().args("/bin/echo", "hello")
    env = {
        **os.environ,
        "PYTHONPATH": str(trap),
        "PYTHONHOME": str(trap),
        "PYTHONSTARTUP": str(trap / "startup.py"),
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONDEVMODE": "1",
        "PYTHONUSERBASE": str(tmp_path / "home/.local"),
        "HOME": str(tmp_path / "home"),
    }
    done = runtime.call("run", "--bundle", str(it.path), runtime.new_id(), env=env, cwd=trap, check=True)
    assert done.stdout == "hello\n"
    assert done.stderr == ""
    # Cold code too: what explains a configuration, compiles a filter, or shows a plan.
    it.update({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}})
    for words in (["features"], ["plan", str(it.path)], ["run", "--bundle", str(it.path), runtime.new_id()], ["list"]):
        runtime.call(*words, env=env, cwd=trap, check=True)
    it.update({"process": {"rlimits": [{"type": "x"}]}})
    done = runtime.call("run", "--bundle", str(it.path), runtime.new_id(), env=env, cwd=trap)
    assert "process/rlimits/0" in done.stderr
    assert not (tmp_path / "sprung").exists()
    assert not list(trap.glob("__pycache__"))


@pytest.mark.contains("modules from PYTHONPATH, the working directory or the user's site; variables that Python sets")
@pytest.mark.parametrize("locale", [{}, {"LANG": "C"}, {"LC_ALL": "POSIX"}, {"LC_CTYPE": "C"}])
def test_hooks_inherit_what_the_caller_had(runtime: Runtime, bundle: MakeBundle, locale: dict[str, str]) -> None:
    """Python may change LC_CTYPE of its own accord (PEP 538)."""
    it = bundle().args("/bin/true")
    log = it.path / "environment"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/$$/environ > {log}"]}
    it.update({"hooks": {"createRuntime": [hook]}})
    env = {"PATH": os.environ["PATH"], "ODD": "a\udcffb", **locale}
    command = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
    subprocess.run(command, check=True, env=env, stdin=subprocess.DEVNULL, timeout=60)
    given = {os.fsencode(f"{name}={value}") for name, value in env.items()}
    assert set(log.read_bytes().rstrip(b"\0").split(b"\0")) == given
