"""Engines that are installed here, and whether their configuration names pyrunc. Cold."""

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyrunc.inspect.checks import Check

TOPIC = "engines"


def engine_checks(root: str = "/") -> list[Check]:
    """A check for each engine. root: where /etc and /usr/share lie."""
    found: list[Check] = []
    for name, look, remedy in (
        ("podman", _podman, PODMAN),
        ("docker", _docker, DOCKER),
        ("containerd", _containerd, CONTAINERD),
        ("crio", _crio, CRIO),
    ):
        program = shutil.which(name)
        errors: list[Check] = []
        paths = dict(look(Path(root), errors))
        found += errors
        if not program and not paths:
            continue
        if not paths:
            found.append(Check("note", TOPIC, f"{name} does not know pyrunc", remedy=remedy))
        for path, file in paths.items():
            if os.access(path, os.X_OK):
                found.append(Check("ok", TOPIC, f"{name} has pyrunc at {path} ({file})"))
            else:
                text = f"{name} has pyrunc at {path} ({file}), where there is no program"
                found.append(Check("error", TOPIC, text, remedy=f"make install, or correct {file}"))
    return found


PODMAN = """add to /etc/containers/containers.conf.d/pyrunc.conf:
[engine.runtimes]
pyrunc = ["/usr/local/bin/pyrunc"]"""
DOCKER = """add to /etc/docker/daemon.json, and restart docker:
{"runtimes": {"pyrunc": {"path": "/usr/local/bin/pyrunc"}}}"""
CONTAINERD = """add to /etc/containerd/config.toml (containerd 1.6 and 1.7; docs/engines.md has 2.x):
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyrunc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyrunc.options]
    BinaryName = "/usr/local/bin/pyrunc\""""
CRIO = """add to /etc/crio/crio.conf.d/pyrunc.conf:
[crio.runtime.runtimes.pyrunc]
runtime_path = "/usr/local/bin/pyrunc\""""


def _documents(
    files: list[Path], parse: Callable[[str], Any], errors: list[Check]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that are there, parsed; what is no such document is an error of its own."""
    for file in files:
        try:
            value = parse(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue
        except ValueError as error:  # tomllib's and json's are such
            errors.append(Check("error", TOPIC, f"{file}: {error}", remedy="the engine does not read it either"))
            continue
        if isinstance(value, dict):
            yield file, value


def _below(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern)) if folder.is_dir() else []
    except PermissionError:
        return []


def _is_pyrunc(path: str) -> bool:
    return os.path.basename(os.path.realpath(path)).startswith("pyrunc") or os.path.basename(path).startswith("pyrunc")


def _podman(root: Path, errors: list[Check]) -> Iterator[tuple[str, Path]]:
    folders = [root / "usr/share/containers", root / "etc/containers"]
    if os.geteuid():
        folders.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers")
    files = [
        it for folder in folders for it in (folder / "containers.conf", *_below(folder / "containers.conf.d", "*.conf"))
    ]
    for file, document in _documents(files, tomllib.loads, errors):
        for paths in document.get("engine", {}).get("runtimes", {}).values():
            for path in paths:
                if _is_pyrunc(path):
                    yield path, file


def _docker(root: Path, errors: list[Check]) -> Iterator[tuple[str, Path]]:
    for file, document in _documents([root / "etc/docker/daemon.json"], json.loads, errors):
        for runtime in document.get("runtimes", {}).values():
            path = runtime.get("path") or runtime.get("options", {}).get("BinaryName") or ""
            if _is_pyrunc(path):
                yield path, file


def _containerd(root: Path, errors: list[Check]) -> Iterator[tuple[str, Path]]:
    files = [root / "etc/containerd/config.toml", *_below(root / "etc/containerd/conf.d", "*.toml")]
    return _named(files, "BinaryName", errors)


def _crio(root: Path, errors: list[Check]) -> Iterator[tuple[str, Path]]:
    files = [root / "etc/crio/crio.conf", *_below(root / "etc/crio/crio.conf.d", "*")]
    return _named(files, "runtime_path", errors)


def _named(files: list[Path], name: str, errors: list[Check]) -> Iterator[tuple[str, Path]]:
    """Paths of pyrunc in members of a name, with their file."""
    for file, document in _documents(files, tomllib.loads, errors):
        for path in _values(document, name):
            if _is_pyrunc(path):
                yield path, file


def _values(document: Any, name: str) -> Iterator[str]:
    """The texts of all members of a name, however deep."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name and isinstance(value, str):
                yield value
            else:
                yield from _values(value, name)
