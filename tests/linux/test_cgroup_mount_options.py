"""Options of a cgroup mount reach the kernel: one that it does not know is an error, not nothing."""

from pathlib import Path

import pytest

from pyrunc.errors import ConfigError
from pyrunc.machine.ops import Program
from pyrunc.plan.filesystem.mount_entry import Context
from pyrunc.plan.filesystem.mounts import compile_mount
from support import IS_ROOT, MakeBundle, Runtime


def has_cgroup2() -> bool:
    return " cgroup2 " in Path("/proc/self/mounts").read_text()


@pytest.mark.skipif(not IS_ROOT or not has_cgroup2(), reason="needs root and a mounted cgroup2")
@pytest.mark.parametrize(("option", "right"), [("memory_recursiveprto", False), ("memory_recursiveprot", True)])
def test_cgroup2(runtime: Runtime, bundle: MakeBundle, option: str, right: bool) -> None:
    it = bundle().shell("grep -c ' /mnt cgroup2 ' /proc/mounts")
    mount = {"destination": "/mnt", "type": "cgroup2", "source": "cgroup", "options": ["ro", "nosuid", option]}
    it.config["mounts"].append(mount)
    if not any(entry["type"] == "cgroup" for entry in it.config["linux"]["namespaces"]):
        it.config["linux"]["namespaces"].append({"type": "cgroup"})
    it.save()
    done = runtime.run(it)
    if right:
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    else:
        assert done.returncode == 1
        assert "invalid argument" in done.stderr
        assert option in done.stderr
        assert f"mounts/{len(it.config['mounts']) - 1}" in done.stderr


def test_hierarchies_of_v1_have_none() -> None:
    p = Program()
    context = Context(p.reg("root"), "/b", "/b/rootfs")
    context.cgroup_v1 = (("cpu", "/sys/fs/cgroup/cpu/x"),)
    options = ["ro", "nsdelegat"]
    with pytest.raises(ConfigError) as caught:
        compile_mount(p, 3, {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}, context)
    assert str(caught.value) == 'hierarchies of cgroup v1 take no option "nsdelegat" (mounts/3/options)'
