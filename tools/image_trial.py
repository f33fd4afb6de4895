"""What an image is made of, for `pyrunc --version`, and the trial of one that has just been built."""

import json
import os
import subprocess
import sys
from pathlib import Path

import build_parts

ROOT = Path(__file__).resolve().parent.parent

#: A program that ends with 42, of two system calls at most, for a root file system with nothing else in it.
PROGRAM = """
void _start(void)
{
#if defined(__x86_64__)
    __asm__ volatile("syscall" : : "a"(231), "D"(42));
#else
    register long number __asm__("x8") = 94, status __asm__("x0") = 42;
    __asm__ volatile("svc 0" : : "r"(number), "r"(status));
#endif
    __builtin_unreachable();
}
"""

CONFIG: dict[str, object] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["/program"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/"]},
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "user"}]},
}


class Failed(Exception):
    """The image does not do what the script does here."""


def run(program: Path, directory: Path, package: Path) -> None:
    """Try a program: it tells its version, knows no container, and runs one, if the script does.

    directory: for what the trial needs, not there yet. Raises Failed.
    """
    says = attempt(str(program), "--version")
    if says[0] != 0 or not says[1].startswith("pyrunc version "):
        raise Failed(f"--version ends with {says[0]}: {says[1]}")
    root = directory / "root"
    says = attempt(str(program), "--root", str(root), "state", "nope")
    if says[0] != 1 or "does not exist" not in says[1]:
        raise Failed(f"state of no container ends with {says[0]}: {says[1]}")
    rootfs = directory / "bundle/rootfs"
    rootfs.mkdir(parents=True)
    source = directory / "program.c"
    source.write_text(PROGRAM)
    flags = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-no-pie", "-O1"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", rootfs / "program", source], check=True)
    if os.geteuid() == 0:
        CONFIG["linux"] = {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
    (directory / "bundle/config.json").write_text(json.dumps(CONFIG))
    words = ("--root", str(root), "--cgroup-manager", "disabled", "run", "--bundle", str(directory / "bundle"), "trial")
    says = attempt(str(program), *words)
    if says[0] == 42:
        return
    script = attempt(build_parts.base_interpreter(), "-IS", "-c", SCRIPT.format(site=str(package.parent)), *words)
    if script[0] == 42:
        raise Failed(f"run ends with {says[0]}, where the script's ends with 42: {says[1]}")
    print(f"note: containers do not run here, so the executable was not tried with one: {script[1]}", file=sys.stderr)


SCRIPT = "import sys; sys.path.insert(0, {site!r}); from pyrunc.cli import main; sys.exit(main())"


def attempt(*command: str) -> tuple[int, str]:
    """Exit status (128 and more: a signal) and all output of a command in an empty environment."""
    try:
        done = subprocess.run(
            command,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "no end after 60 s"
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return status, done.stdout.decode(errors="replace").strip()


def made_of(library: Path, objects: dict[str, Path]) -> dict[str, object]:
    """The members of pyrunc.made_of for an image."""
    import pyexpat
    import zlib

    linked = {"zlib": zlib.ZLIB_VERSION, "expat": pyexpat.EXPAT_VERSION.removeprefix("expat_")}
    package = debian_package(library)
    if package:
        linked[package[0]] = package[1]
    linked.update(dict.fromkeys(objects, "from a shared object"))
    return {
        "FORM": "image",
        "LINKED": tuple(f"{name} {version}" for name, version in linked.items()),
    }


def debian_package(file: Path) -> tuple[str, str] | None:
    """Name and version of the package that a file is from, if dpkg knows."""
    try:
        found = subprocess.run(["dpkg-query", "-S", file.resolve()], capture_output=True, text=True, check=True)
        name = found.stdout.partition(":")[0]
        shown = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return name, shown.stdout.split()[0]
