"""Descriptors of the host, and pyrunc's own program: nothing of either is within a container's reach."""

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

NUMBERS = range(3, 65)


def _leaking(command: list[str], count: int = 40) -> subprocess.CompletedProcess[str]:
    """Run a command that inherits `count` descriptors of the host's directories."""
    held = [os.open(path, os.O_RDONLY) for path in ("/", "/etc", "/proc", "/sys") * (count // 4)]
    try:
        for fd in held:
            os.set_inheritable(fd, True)
        return subprocess.run(
            command,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        for fd in held:
            os.close(fd)


@pytest.mark.contains(
    "CVE-2024-21626: working directory by a leaked descriptor",
    "opened inside the root without magic links; `getcwd` is asked afterwards; 6 above",
)
def test_working_directory_is_a_descriptor_of_run(runtime: Runtime, bundle: MakeBundle) -> None:
    """CVE-2024-21626, with descriptors of the host inherited; the numbers pyrunc uses are all below 64."""
    it = bundle().shell("ls /work /canary 2>/dev/null; pwd")
    for number in (*range(3, 20), 31, 42, 43, 63):
        it.update({"process": {"cwd": f"/proc/self/fd/{number}"}})
        done = _leaking(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
        assert done.returncode != 0, number
        assert done.stdout == ""
        assert "chdir to cwd" in done.stderr


@pytest.mark.contains("CVE-2024-21626: working directory by a leaked descriptor")
def test_working_directory_links_to_a_descriptor_of_run(runtime: Runtime, bundle: MakeBundle) -> None:
    for target in ("/proc/self/fd/8", "/proc/1/cwd", "/proc/self/root/..", "/proc/self/exe"):
        it = bundle({"process": {"cwd": "/link"}}).shell("pwd")
        (it.rootfs / "link").symlink_to(target)
        done = _leaking(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
        assert (done.returncode != 0 and "chdir to cwd" in done.stderr) or done.stdout == "/\n"


@pytest.mark.contains("CVE-2024-21626: working directory by a leaked descriptor")
def test_working_directory_is_a_descriptor_of_exec(runtime: Runtime, bundle: MakeBundle) -> None:
    """The same for every number and as a link, in a directory only the user may enter as well."""
    it = bundle().args("/bin/sleep", "100")
    (it.rootfs / "links").mkdir()
    for number in NUMBERS:
        (it.rootfs / f"links/{number}").symlink_to(f"/proc/self/fd/{number}")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    for number in NUMBERS:
        path = f"/proc/self/fd/{number}" if number % 2 else f"/links/{number}"
        user = "1000" if number % 5 == 0 else "0"
        done = _leaking(runtime.command("exec", "--cwd", path, "--user", user, id, "/bin/pwd"))
        assert done.returncode != 0, number
        assert "chdir to cwd" in done.stderr


@pytest.mark.contains("CVE-2024-21626: working directory by a leaked descriptor")
def test_descriptors_of_the_running_container(runtime: Runtime, bundle: MakeBundle) -> None:
    """With 40 inherited ones: three, of run and of exec; and as many more as were asked for."""
    it = bundle().shell("ls /proc/self/fd | wc -l; ls -l /proc/1/fd | grep -c ' /$'")
    done = _leaking(runtime.command("run", "--bundle", str(it.path), "--preserve-fds", "0", runtime.new_id()))
    assert done.stdout == "4\n0\n", done.stderr
    it.args("/bin/sleep", "100")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    done = _leaking(runtime.command("exec", "--preserve-fds", "0", id, "ls", "-l", "/proc/self/fd"))
    assert done.returncode == 0
    assert re.findall(r":\d\d (\d+)", done.stdout) == ["0", "1", "2", "3"]  # the last is of ls
    assert not re.search(r"-> /(etc|sys|proc)?$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_descriptors_of_hooks_inside(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, kind: str) -> None:
    """Hooks in the container's namespaces hold nothing of the host's that could be left to the container."""
    it = bundle().shell("cat /hook")
    place = f"{it.rootfs if kind == 'createContainer' else ''}/hook"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"ls -l /proc/self/fd >{place}"]}
    it.update({"hooks": {kind: [hook]}})
    done = _leaking(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    assert done.returncode == 0, done.stderr
    places = re.findall(r"-> (.*)$", done.stdout, re.MULTILINE)
    assert places
    known = r"/dev/null|(/.*)?/hook|/proc/|pipe:|socket:|/memfd:"
    assert [place for place in places if not re.match(known, place)] == []


def _everything_of_pyruncs(program: str) -> dict[str, str]:
    """Hashes of the launcher, the interpreter, the libraries mapped into it, and pyrunc's own files."""
    line = Path(program).read_bytes().split(b"\n")[0]
    interpreter = line[2:].split()[0].decode() if line.startswith(b"#!") else program
    maps = subprocess.run([interpreter, "-c", "print(open('/proc/self/maps').read())"], capture_output=True, text=True)
    paths = {program, os.path.realpath(interpreter), *re.findall(r" (/\S+)$", maps.stdout, re.MULTILINE)}
    import pyrunc

    paths |= {str(path) for path in Path(pyrunc.__path__[0]).rglob("pyrunc-init")}
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths if os.path.isfile(path)}


@pytest.mark.contains(
    "CVE-2019-5736: overwriting the runtime",
    "what is executed is a sealed memfd; interpreter and libraries are never mapped in the container",
)
def test_own_program_as_the_containers(runtime: Runtime, bundle: MakeBundle) -> None:
    """CVE-2019-5736 (a), (b): /proc/self/exe as the program and as an interpreter, for run and exec."""
    before = _everything_of_pyruncs(runtime.program)
    it = bundle().args("/proc/self/exe")
    script = it.rootfs / "bin/script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    link = it.rootfs / "bin/itself"
    link.symlink_to("/proc/self/exe")
    for words in (["/proc/self/exe", "3"], ["/bin/script"], ["itself"], ["/proc/1/exe"]):
        done = runtime.run(it.args(*words), timeout=20)
        assert "ython" not in done.stdout + done.stderr.replace("pyrunc", "")
    id = runtime.create(it.args("/bin/sleep", "100"))
    runtime.call("start", id, check=True)
    for words in (["/proc/self/exe", "3"], ["/bin/script"], ["itself"]):
        runtime.call("exec", id, *words, timeout=20)
    assert _everything_of_pyruncs(runtime.program) == before


@pytest.mark.contains("CVE-2019-5736: overwriting the runtime")
def test_own_program_is_out_of_reach(runtime: Runtime, bundle: MakeBundle) -> None:
    """CVE-2019-5736 (c), CVE-2016-9962: a loop in the container, with the privilege to trace anything, tries to write
    to the program of each new process."""
    before = _everything_of_pyruncs(runtime.program)
    everything = {
        kind: ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")
    }
    it = bundle({"process": {"capabilities": everything}}).shell(
        """
        while :; do
          for p in /proc/[0-9]*; do
            case $p in /proc/1|/proc/$$) continue;; esac
            read name 2>/dev/null <$p/comm || continue
            case $name in pyrunc*|python*|memfd*|3) ;; *) continue;; esac
            echo "saw $name"
            true 2>/dev/null >>$p/exe && echo "WROTE $p"
            for f in cwd root fd/3 fd/4 fd/5 fd/11 fd/12 fd/13 fd/14; do
              test -e $p/$f/etc/debian_version && echo "REACHED $p/$f"
            done
          done
        done >/out 2>/dev/null"""
    )
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    for _ in range(25):
        runtime.call("exec", id, "/bin/true", check=True)
    said = (it.rootfs / "out").read_text()
    assert "saw" in said, "none was caught"
    assert "WROTE" not in said
    assert "REACHED" not in said
    assert _everything_of_pyruncs(runtime.program) == before


def test_state_directory_is_out_of_reach(runtime: Runtime, bundle: MakeBundle) -> None:
    """What lies in the state directory: others can at most pass through."""
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    directory = runtime.root / id
    for path in (runtime.root, directory, *directory.iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode):
            continue
        assert mode & (0o066 if stat.S_ISDIR(mode) else 0o077) == 0, path
