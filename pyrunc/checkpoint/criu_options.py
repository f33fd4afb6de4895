"""What `checkpoint` and `restore` tell criu alike: flags, directories, namespaces, configuration."""

import os
from collections.abc import Mapping
from typing import Any

from pyrunc.checkpoint import criu_rpc
from pyrunc.config.annotation_names import CRIU_CONFIG as CONFIG_ANNOTATION
from pyrunc.errors import Error, from_os_error
from pyrunc.options import absolute

Given = Mapping[str, Any]
"""The flags of the command line by their long names; those not given are absent."""

SWITCHES = {
    "tcp-established": "tcp_established",
    "tcp-skip-in-flight": "tcp_skip_in_flight",
    "link-remap": "link_remap",
    "ext-unix-sk": "ext_unix_sk",
    "shell-job": "shell_job",
    "file-locks": "file_locks",
    "auto-dedup": "auto_dedup",
    "lazy-pages": "lazy_pages",
}
TEXTS = {"lsm-profile": "lsm_profile", "lsm-mount-context": "lsm_mount_context"}

CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
CLONE_NEWNET = 0x40000000

CONFIG_FILES = ("/etc/criu/pyrunc.conf", "/etc/criu/runc.conf")
"""Files of criu options that hold for all containers without the annotation; the first counts."""

EXTERNAL_NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
"""Namespaces that criu leaves alone where the configuration joins them by path: criu's word for the
kind, and the name under which they stand in the images (runc's, so that images can be exchanged)."""

JOINED_NAMESPACES = {"ipc": "ipc", "uts": "uts", "time": "time", "user": "user"}
"""Those that criu joins at a restore by itself."""

DESCRIPTORS = "descriptors.json"
"""The file of the image directory with what standard input, output and error were."""


class Directories:
    """The image and the work directory, open, and their absolute paths. log: that of the log."""

    def __init__(self, given: Given, log_name: str, *, make: bool) -> None:
        """make: make those that are missing, with access for their owner only. Errors: it cannot
        be opened or made."""
        self.images_path = absolute(given.get("image-path") or "checkpoint")
        self.images = self.work = _directory(self.images_path, "--image-path", make)
        self.work_path = self.images_path
        if given.get("work-path"):
            self.work_path = absolute(given["work-path"])
            self.work = _directory(self.work_path, "--work-path", True)
        self.log_name = log_name
        self.log = f"{self.work_path}/{log_name}"

    def options(self) -> dict[str, Any]:
        """Their part of criu_opts."""
        return {
            "images_dir_fd": self.images,
            "work_dir_fd": self.work,
            "log_file": self.log_name,
            "log_level": criu_rpc.LOG_LEVEL,
        }

    def close(self) -> None:
        for fd in {self.images, self.work}:
            os.close(fd)


def _directory(path: str, flag: str, make: bool) -> int:
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(flag, error) from None


def common(given: Given, annotations: Mapping[str, str]) -> dict[str, Any]:
    """The members of criu_opts that follow from flags and annotations of both commands.

    Errors: a flag has a value that there is not.
    """
    options: dict[str, Any] = {
        "notify_scripts": True,
        "orphan_pts_master": True,
        "manage_cgroups": True,
    }
    for flag, name in SWITCHES.items():
        if given.get(flag):
            options[name] = True
    for flag, name in TEXTS.items():
        if given.get(flag):
            options[name] = given[flag]
    mode = given.get("manage-cgroups-mode") or "soft"
    if mode not in CGROUP_MODES:
        known = ", ".join(CGROUP_MODES)
        raise Error(f"invalid value {mode!r} for --manage-cgroups-mode: want one of {known}")
    options["manage_cgroups_mode"] = CGROUP_MODES[mode]
    for kind in given.get("empty-ns") or ():
        if kind != "network":
            raise Error(f"namespace {kind!r} is not supported by --empty-ns: want network")
        options["empty_ns"] = CLONE_NEWNET
    path = _config_file(annotations)
    if path:
        options["config_file"] = path
    return options


def _config_file(annotations: Mapping[str, str]) -> str:
    """Where criu reads further options from; the annotation may be empty, for none."""
    if CONFIG_ANNOTATION in annotations:
        return annotations[CONFIG_ANNOTATION]
    return next((path for path in CONFIG_FILES if os.path.exists(path)), "")


def page_server(address: str) -> bytes:
    """criu_page_server_info of `ADDRESS:PORT`. Errors: it is something else."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise Error(f"--page-server {address}: want ADDRESS:PORT")
    return criu_rpc.encode({1: host.removeprefix("[").removesuffix("]"), 2: int(port)})


def namespace_paths(config: Mapping[str, Any]) -> dict[str, str]:
    """The namespaces that the configuration joins by path, by their kind."""
    spaces = config.get("linux", {}).get("namespaces", ())
    return {space["type"]: space["path"] for space in spaces if space.get("path")}
