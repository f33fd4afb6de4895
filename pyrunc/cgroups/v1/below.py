"""The arguments of `exec --cgroup` where each hierarchy has groups of its own. Pure."""

from pyrunc.cgroups.v1.hierarchies import key_of
from pyrunc.errors import Error


def below(paths: "dict[str, str]", arguments: "list[str]") -> "dict[str, str]":
    """Which group below the container's is to be joined in each hierarchy.

    An argument is "[CONTROLLER[,...]:]PATH"; without controllers it is for all. Raises Error.
    """
    out: dict[str, str] = {}
    for argument in arguments:
        controllers, colon, path = argument.rpartition(":")
        names = [name for name in path.split("/") if name not in ("", ".")]
        if ".." in names:
            raise Error(f"bad sub cgroup path {path}")
        if not colon:
            out.update(dict.fromkeys(paths, "/".join(names)))
            continue
        for name in controllers.split(","):
            key = key_of(paths, name) or key_of(paths, f"name={name}")
            if not key:
                raise Error(f'--cgroup {argument}: unknown controller "{name}"')
            out[key] = "/".join(names)
    return out
