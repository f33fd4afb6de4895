"""Where a configuration that was not found may be: what of its path is missing, and what is there instead. Cold."""

import posix

from pyrunc.didyoumean import nearest
from pyrunc.kernel.uapi import S_IFDIR, S_IFMT


def advice(bundle: str, path: str) -> str:
    """A hint for config.json that was not found. bundle: absolute; path: of the configuration."""
    inside = path == bundle + "/config.json"
    place = bundle if inside else path.rpartition("/")[0] or "/"
    missing = first_missing(place)
    if not missing:
        if inside:
            near = _near_file(place, "config.json")
            return f'the directory "{place}" has no config.json: "pyrunc spec" writes one{near}'
        return f'the directory "{place}" has no such file' + _near_file(place, path.rpartition("/")[2])
    parent, _, name = missing.rpartition("/")
    what = "the bundle" if inside else "the directory"
    return f'{what} "{place}" does not exist: "{name}" is not in "{parent or "/"}"' + _near_file(parent or "/", name)


def first_missing(path: str) -> str:
    """The shortest leading part of an absolute path that does not exist, "" where all of it does."""
    done = ""
    for name in path.split("/"):
        if not name:
            continue
        done = f"{done}/{name}"
        try:
            posix.stat(done)
        except (FileNotFoundError, NotADirectoryError):
            return done
        except OSError:
            return ""
    return ""


def not_a_directory(bundle: str) -> str:
    """A hint for a bundle that is a file."""
    try:
        mode = posix.stat(bundle).st_mode
    except OSError:
        return ""
    if mode & S_IFMT == S_IFDIR:
        return ""
    parent, _, name = bundle.rpartition("/")
    if name.endswith(".json"):
        return f'"{bundle}" is a file: the bundle is the directory, --bundle {parent or "/"}; --config names the file'
    return f'"{bundle}" is a file, and a bundle is a directory with config.json'


def _near_file(directory: str, name: str) -> str:
    try:
        near = nearest(name, sorted(posix.listdir(directory)))
    except OSError:
        return ""
    return f', did you mean "{near}"?' if near else ""
