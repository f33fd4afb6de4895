"""Device rules -> devices.deny and devices.allow (admin-guide/cgroup-v1/devices.rst). Pure.

The kernel keeps one default and a list of exceptions to it. It takes an exception back only where the very same one
is named: "allow c 1:*, deny c 1:3" would silently leave 1:3 allowed. So the rules are worked out here, and what the
kernel's list cannot say is refused.
"""

from pyrunc.cgroups.devices import ACCESS, BLOCK, CHAR, DEFAULTS, Rule
from pyrunc.errors import ConfigError

Key = tuple[int, int, int]


class Rules:
    """allow: what becomes of a device that no exception names. exceptions: (kind, major, minor), -1 for any -> bits."""

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[Key, int] = {}

    def add(self, rule: Rule, pointer: str = "") -> None:
        """The last rule wins. Raises ConfigError for what the kernel cannot keep."""
        if rule.all():
            self.allow = rule.allow
            self.exceptions.clear()
            return
        for kind in (rule.kind,) if rule.kind else (BLOCK, CHAR):
            key = (kind, rule.major, rule.minor)
            if rule.allow != self.allow:
                self.exceptions[key] = self.exceptions.get(key, 0) | rule.access
                continue
            for other, bits in list(self.exceptions.items()):
                if not bits & rule.access or not _overlap(key, other):
                    continue
                if not _covers(key, other):
                    raise ConfigError(
                        f"cgroup v1 cannot take {text(key, rule.access)} out of {text(other, bits)} ({pointer[1:]})",
                        pointer=pointer,
                        hint="name the devices one by one",
                    )
                self.exceptions[other] = bits & ~rule.access
        self.exceptions = {key: bits for key, bits in self.exceptions.items() if bits}


def _covers(wide: Key, narrow: Key) -> bool:
    return wide[0] == narrow[0] and all(w in (-1, n) for w, n in zip(wide[1:], narrow[1:], strict=True))


def _overlap(one: Key, other: Key) -> bool:
    return one[0] == other[0] and all(a == b or -1 in (a, b) for a, b in zip(one[1:], other[1:], strict=True))


def text(key: Key, access: int) -> str:
    """An entry as the kernel reads and prints it: `c 1:3 rwm`."""
    kind, major, minor = key
    letters = "".join(letter for letter, bit in ACCESS.items() if access & bit)
    numbers = ":".join("*" if number < 0 else str(number) for number in (major, minor))
    return f"{'b' if kind == BLOCK else 'c'} {numbers} {letters}"


def work_out(rules: "list[Rule]") -> Rules:
    """The configuration's rules over "deny all", then the devices that a container always has."""
    out = Rules()
    for index, rule in enumerate(rules):
        out.add(rule, f"/linux/resources/devices/{index}")
    for rule in DEFAULTS:
        try:
            out.add(rule)
        except ConfigError:
            pass  # a whole range is denied to a container that has all else: the device goes with it
    return out


def changes(rules: Rules, listed: bytes) -> "list[tuple[str, str]]":
    """(file, line) to write so that a group that has `listed` in devices.list has `rules`.

    From one list of permissions to another nothing that both allow is ever denied.
    """
    lines = listed.decode().splitlines()
    wanted = [text(key, bits) for key, bits in rules.exceptions.items()]
    if rules.allow:
        # A group below one that restricts its devices cannot have all; it has what the one above has then.
        head = [] if lines == ["a *:* rwm"] and not wanted else [("devices.allow", "a")]
        return head + [("devices.deny", line) for line in wanted]
    if lines == ["a *:* rwm"]:
        return [("devices.deny", "a"), *(("devices.allow", line) for line in wanted)]
    missing = [line for line in wanted if line not in lines]
    # A line that goes with some rights of its device kept is cut down; allow adds to what is there.
    stale = [line for line in lines if line not in wanted]
    out = [("devices.allow", line) for line in missing]
    out += [("devices.deny", line) for line in stale]
    # Taking a right back strikes it from the device's entry: what is wanted is said again.
    return out + ([("devices.allow", line) for line in wanted if _same_device(line, stale)])


def _same_device(line: str, stale: "list[str]") -> bool:
    return any(line.rpartition(" ")[0] == other.rpartition(" ")[0] for other in stale)
