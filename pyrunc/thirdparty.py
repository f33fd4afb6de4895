"""Where packages that are not pyrunc's own come from.

None of them is needed to run a container; each is asked for when a configuration needs it, and `install` says how to
get it. pyrunc is started with `-I -S`, so the interpreter has no site-packages. Cold code that needs
jsonschema, python-prctl, pyroute2, jeepney or pyseccomp calls `enable()` first:

    from pyrunc import thirdparty

    thirdparty.enable()
    import jsonschema

Import cost: nothing until `enable()` is called, which then imports `os` and `site`.
"""

import sys

HOW = {
    "jsonschema": ("python3-jsonschema", "explain"),
    "prctl": ("python3-prctl", "prctl"),
    "pyroute2": ("python3-pyroute2", "netdev"),
    "jeepney": ("python3-jeepney", "systemd"),
    "pyseccomp": ("", "seccomp"),
}
"""Module → Debian's package, "" if there is none, and the extra of pyrunc's that pip takes."""


def install(module: str) -> str:
    """How to get a package that is not there, for a hint."""
    package, extra = HOW[module]
    apt = f"`apt install {package}`, or " if package else ""
    return f"install {module}: {apt}`pip install 'pyrunc[{extra}]'`"


def enable() -> None:
    """Append the environment's package directories to sys.path, once.

    Installed, they are the directory that pyrunc itself lies in; in a checkout those of its
    .venv. Where that is no environment, or one made with access to the system's packages, these as well.
    Code in .pth files is not run. Under an interpreter started with `site` (a test run, an
    embedding program) nothing happens: the caller has decided what can be imported.
    """
    if not sys.flags.no_site:
        return
    import os.path
    import site

    parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if os.path.basename(parent) in ("site-packages", "dist-packages"):
        prefix = os.path.dirname(os.path.dirname(os.path.dirname(parent)))
    else:
        prefix = parent + "/.venv"
    found = [f"{prefix}/lib/{version}/site-packages"]
    if _sees_the_system(prefix + "/pyvenv.cfg"):
        found += site.getsitepackages([sys.base_prefix])
    for directory in found:
        if directory not in sys.path and os.path.isdir(directory):
            sys.path.append(directory)


def _sees_the_system(file: str) -> bool:
    """Whether a pyvenv.cfg says that its environment includes the system's packages, or is not there."""
    try:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                key, _, value = line.partition("=")
                if key.strip().lower() == "include-system-site-packages":
                    return value.strip().lower() == "true"
    except FileNotFoundError:
        return True
    return False
