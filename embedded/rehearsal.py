"""What `create` and `exec` do before there is a process, for a configuration as engines write it: run by stage.py.

CPython specialises code that runs often, and remembers where attributes were found. A command runs once, and would
never come to that. Nothing here touches the host, and nothing stays but that.
"""

import posix
from marshal import dumps as marshalled

from pyrunc.cgroups import bpf
from pyrunc.cgroups.devices import device_program
from pyrunc.config.load import parse_config
from pyrunc.config.rules.check import check
from pyrunc.config.rules.check_process import check_process
from pyrunc.config.strict import dumps
from pyrunc.machine.assembler import assemble, syscall_numbers
from pyrunc.machine.ops import Fd, Step
from pyrunc.plan import create, exec
from pyrunc.plan.facts import ExecFacts
from pyrunc.plan.process.lookup import candidates, environment
from pyrunc.plan.waiting import Gate
from pyrunc.seccomp import _compiled_from
from pyrunc.setup.drive import first_piece
from pyrunc.setup.failures.step_errors import kept
from pyrunc.state.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.config.types import Config
    from pyrunc.machine.ops import Label, Program

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID"]
USUAL = ["nosuid", "noexec", "nodev"]
ACTION = "SCMP_ACT_ALLOW"
MOUNTS = {
    "/proc": ("proc", USUAL),
    "/dev": ("tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    "/dev/pts": ("devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    "/dev/shm": ("tmpfs", [*USUAL, "mode=1777", "size=65536k"]),
    "/dev/mqueue": ("mqueue", USUAL),
    "/sys": ("sysfs", [*USUAL, "ro"]),
    "/sys/fs/cgroup": ("cgroup", [*USUAL, "relatime", "ro"]),
    "/etc/hosts": ("bind", ["rbind", "rprivate"]),
    "/etc/resolv.conf": ("bind", ["rbind", "rprivate", "ro"]),
}
CONFIG = {
    "ociVersion": "1.2.0",
    "process": {
        "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10], "umask": 18},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=name", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        "noNewPrivileges": True,
        "oomScoreAdj": 0,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "name",
    "mounts": [
        {"destination": place, "type": kind, "source": f"/source/{kind}", "options": options}
        for place, (kind, options) in MOUNTS.items()
    ],
    "linux": {
        "cgroupsPath": "/name",
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup", "network")],
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            ],
            "memory": {"limit": 100000000},
            "cpu": {"shares": 1024},
            "pids": {"limit": 100},
        },
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        "sysctl": {"net.ipv4.ping_group_range": "0 2147483647"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["read", "write"], "action": ACTION},
                {"names": ["clone"], "action": ACTION, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            ],
        },
    },
}


class Rehearsal:
    """One container. machine: as uname(2) has it."""

    def __init__(self, text: bytes, machine: str) -> None:
        self.numbers = syscall_numbers(machine)
        self.config: Config = parse_config(text)
        self.path = candidates(self.config["process"])[0]
        self.environment = environment(self.config["process"], None)

    def send(self, items: "list[Step | Label]", agent: "Sequence[Step | Label]" = ()) -> None:
        """Lay out the programs for these steps; those of the agent's, which makes the process, lie before the first."""
        while items:
            piece, items = first_piece(items)
            assemble([*agent, *piece], self.numbers)
            agent = ()

    def create(self) -> None:
        config = self.config
        check(config, "/bundle", euid=0, rootfs=False)
        marshalled(_compiled_from(config["linux"]["seccomp"]), 2)
        program = device_program(dict(config["linux"]["resources"]))

        def attach(steps: "Program") -> None:
            bpf.attach(steps, program, Fd(14, "cgroup"))

        facts = create.Facts("name", "/bundle", "/bundle/rootfs")
        facts.gate = Gate(Fd(15, "start"), Fd(16, "line"), Fd(17, "answer"))
        facts.seccomp = bytes(64), 0, False
        facts.before_clone = attach
        plan = create.compile_create(config, facts)
        ready, last = create.finish(plan, config, facts, self.path, self.environment, deny_setgroups=False)
        self.send(plan.child.items, [*plan.agent.items, plan.child_label])
        self.send(ready.items)
        self.send(last.items)
        state = State("name", bundle="/bundle", rootfs="/bundle/rootfs", config=config, created="now")
        state.extra["start"] = [kept(step) for step in last.items if type(step) is Step]
        dumps(state.extra)
        dumps(config)

    def exec(self) -> None:
        spec = self.config["process"]
        check_process(spec, "/process")
        facts = ExecFacts()
        facts.linux = self.config["linux"]
        plan = exec.compile_exec(spec, facts)
        program, begin = exec.clone(plan, facts)
        ready, last = exec.finish(plan, spec, facts, self.path, self.environment)
        self.send([*begin.items, *plan.child.items], [*plan.agent.items, *program.items])
        self.send(ready.items)
        self.send(last.items)


def rehearse(times: int) -> None:
    machine = posix.uname().machine
    text = dumps(CONFIG).encode()
    for _ in range(times):
        container = Rehearsal(text, machine)
        container.create()
        container.exec()
