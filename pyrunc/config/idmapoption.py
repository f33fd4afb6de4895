"""The mount option `idmap=uids=A-B-N#...;gids=...` (crun(1), "idmap mount options"), as the maps of the mount
that the specification has.

A is the first id in the file system, B what it becomes, N how many. B counts from the host's ids, or,
after "@", from those of the container's user namespace.

Not on the hot path, unless a configuration has the option.
"""

from pyrunc.config.rules.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, IDMapping


def expand(config: "Config") -> None:
    """Turn the option into `idmap` or `ridmap` and uidMappings and gidMappings. Raises ConfigError."""
    linux = config.get("linux", {})
    spaces = {"uids": linux.get("uidMappings", []), "gids": linux.get("gidMappings", [])}
    for number, mount in enumerate(config.get("mounts", ())):
        options = mount.get("options", [])
        for index, option in enumerate(options):
            name, equals, text = option.partition("=")
            if not equals or name not in ("idmap", "ridmap"):
                continue
            pointer = f"/mounts/{number}/options/{index}"
            options[index] = name
            for part in text.split(";"):
                kind, _, ranges = part.partition("=")
                if kind not in spaces:
                    refuse(f'"{option}": want uids= and gids=', pointer)
                maps = [_range(word, spaces[kind], option, pointer) for word in ranges.split("#")]
                if kind == "uids":
                    mount["uidMappings"] = maps
                else:
                    mount["gidMappings"] = maps


def _range(word: str, space: "list[IDMapping]", option: str, pointer: str) -> "IDMapping":
    numbers = word.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(n.isascii() and n.isdecimal() and len(n) < 11 for n in numbers):
        refuse(f'"{option}": "{word}" is no range of ids (FIRST-TO-COUNT)', pointer)
    first, to, size = map(int, numbers)
    if max(first, to) > 0xFFFFFFFE or not 0 < size <= 0xFFFFFFFF:
        refuse(f'"{option}": "{word}" is no range of ids', pointer)
    if word.startswith("@"):
        for entry in space:
            if 0 <= to - entry["containerID"] < entry["size"]:
                to += entry["hostID"] - entry["containerID"]
                break
        else:
            refuse(f'"{option}": id {to} is not in the user namespace', pointer)
    return {"containerID": first, "hostID": to, "size": size}
