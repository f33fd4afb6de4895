"""Semantic checks of linux.resources, for create and for update.

Import cost: pyrunc's own modules.
"""

from pyrunc.config.rules.refusal import escaped, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Resources


def check_resources(resources: "Resources", pointer: str) -> None:
    """Check resources that are valid by the schema (config-linux.md, "Control groups").

    pointer: where they lie in their document: "/linux/resources", or "" for update's.
    Raises ConfigError.
    """
    for index, rule in enumerate(resources.get("devices", ())):
        if rule.get("access") == "":
            refuse(
                f"device access at {index} field cannot be empty",
                f"{pointer}/devices/{index}/access",
            )
    # Both become names of files of the cgroup, and must not lead out of it.
    for name in resources.get("unified", ()):
        if "/" in name or name in ("", ".", ".."):
            refuse(
                f'unified resource "{name}" must be a file name (no slashes)',
                f"{pointer}/unified/{escaped(name)}",
            )
    for name in resources.get("rdma", ()):
        if not name or "/" in name or " " in name or "\n" in name:
            refuse(f'invalid RDMA device name "{name}"', f"{pointer}/rdma/{escaped(name)}")
    seen: set[str] = set()
    for index, limit in enumerate(resources.get("hugepageLimits", ())):
        if limit["pageSize"] in seen:
            refuse(
                f"huge pages of {limit['pageSize']} are limited twice",
                f"{pointer}/hugepageLimits/{index}/pageSize",
            )
        seen.add(limit["pageSize"])
    cpu = resources.get("cpu", {})
    quota, burst = cpu.get("quota", 0), cpu.get("burst", 0)
    if 0 < quota < burst:
        refuse(f"cpu burst {burst} is larger than the quota {quota}", f"{pointer}/cpu/burst")
