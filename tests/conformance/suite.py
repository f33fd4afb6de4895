"""Build the validation suite, from the Go module that it is published as, into a cache."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.1-0.20260316125833-8a4db579f5c8"


def cache() -> Path:
    """Where the built suite lies: $PYRUNC_CACHE, or the user's cache directory."""
    base = os.environ.get("PYRUNC_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pyrunc-conformance" / VERSION


def build() -> Path:
    """Build the suite if it is not there; returns the folder of the programs and the tarball."""
    out = cache()
    if (out / "complete").exists():
        return out
    go = shutil.which("go")
    if not go:
        raise SystemExit("conformance: the suite is built with Go: install it, or copy the cache")
    work = out.with_name(VERSION + ".build")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "go.mod").write_text(f"module conformance\n\ngo 1.21\n\nrequire {MODULE} {VERSION}\n")
    _keep_limits(Path(_go(go, work, "env", "GOROOT")), work)
    _go(go, work, "mod", "download", MODULE)
    source = Path(_go(go, work, "list", "-m", "-f", "{{.Dir}}", MODULE))
    tests = sorted(p.name for p in (source / "validation").iterdir() if p.is_dir())
    packages = [f"{MODULE}/validation/{name}" for name in tests if name != "util"]
    packages.append(f"{MODULE}/cmd/runtimetest")
    _go(go, work, "get", *packages)
    binaries = work / "bin"
    binaries.mkdir()
    _go(
        go, work, "build", "-overlay", "overlay.json", "-tags", "netgo,osusergo", "-trimpath",
        "-ldflags", "-s -w", "-o", f"{binaries}/", *packages,
    )  # fmt: skip
    _tarball(source / "rootfs-amd64.tar.gz", binaries / "runtimetest", binaries)
    shutil.rmtree(out, ignore_errors=True)
    binaries.rename(out)
    (out / "complete").touch()
    shutil.rmtree(work)
    return out


def tests(suite: Path) -> list[str]:
    """The names of the suite's tests."""
    other = ("runtimetest", "complete")
    return sorted(p.name for p in suite.iterdir() if p.name not in other and not p.suffix)


def _keep_limits(goroot: Path, work: Path) -> None:
    """Write the overlay for a standard library whose programs leave their limits alone.

    Since version 1.19 a Go program raises its soft limit of open files when it starts: runtimetest
    would report its own limit in place of the one that the runtime set.
    """
    source = goroot / "src/syscall/rlimit.go"
    text, count = re.subn(r"^func init\(\)", "func _()", source.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"conformance: {source} has no init function: this Go is unknown here")
    (work / "rlimit.go").write_text(text)
    (work / "overlay.json").write_text(json.dumps({"Replace": {str(source): str(work / "rlimit.go")}}))


def _go(go: str, work: Path, *args: str) -> str:
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run([go, *args], cwd=work, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"conformance: go {args[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _tarball(original: Path, runtimetest: Path, where: Path) -> None:
    """The suite's root file system with runtimetest in it: misc_props does not copy it."""
    target = where / "rootfs-amd64.tar.gz"
    with tarfile.open(target, "w:gz", compresslevel=1) as new:
        with tarfile.open(original) as old:
            for member in old:
                data = old.extractfile(member) if member.isreg() else None
                new.addfile(member, data)
        member = tarfile.TarInfo("./runtimetest")
        program = runtimetest.read_bytes()
        member.size, member.mode = len(program), 0o755
        new.addfile(member, io.BytesIO(program))
