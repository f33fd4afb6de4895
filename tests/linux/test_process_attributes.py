"""How the kernel treats the container's process: CPUs, scheduling, memory, personality."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support import IN_GUEST, IS_ROOT, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

NUMA = Path("/proc/self/numa_maps").exists()


def needs(what: bool, reason: str) -> pytest.MarkDecorator:
    """Skip without it; in the guest machines it is emulation that has everything."""
    return pytest.mark.qemu if IN_GUEST else pytest.mark.skipif(not what, reason=reason)


def output(runtime: Runtime, bundle: MakeBundle, script: str, changes: Json) -> str:
    """What a shell prints in a container whose configuration has `changes`."""
    return runtime.run(bundle(changes).shell(script), check=True).stdout.strip()


def refusal(runtime: Runtime, bundle: MakeBundle, changes: Json) -> str:
    """The error of a container that must not start."""
    done = runtime.run(bundle(changes))
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, ("0", "5")),
        ({"policy": "SCHED_BATCH", "nice": -3}, ("3", "-3")),
        ({"policy": "SCHED_IDLE"}, ("5", str(os.nice(0)))),
    ],
)
def test_scheduler(runtime: Runtime, bundle: MakeBundle, policy: Json, shown: tuple[str, str]) -> None:
    """Field 41 of /proc/PID/stat is the policy, field 19 the nice value."""
    printed = output(runtime, bundle, "cut -d' ' -f41,19 /proc/self/stat", {"process": {"scheduler": policy}})
    assert printed.split() == [shown[1], shown[0]]


def can_schedule(policy: int, priority: int) -> bool:
    """Whether this machine lets us use a real-time policy at all."""
    pid = os.fork()
    if not pid:
        try:
            os.sched_setscheduler(0, policy, os.sched_param(priority))
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


@needs(IS_ROOT and can_schedule(os.SCHED_FIFO, 7), "this machine refuses SCHED_FIFO")
def test_scheduler_with_a_priority(runtime: Runtime, bundle: MakeBundle) -> None:
    policy = {"policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    it = bundle({"process": {"scheduler": policy}}).args("/bin/cat", "/proc/self/stat")
    if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():  # a new group of v1 has no realtime
        it.update({"linux": {"resources": {"cpu": {"realtimeRuntime": 10000, "realtimePeriod": 1000000}}}})
    fields = runtime.run(it, check=True).stdout.rpartition(")")[2].split()
    assert fields[40 - 3 : 42 - 3] == ["7", "1"]


DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1000000, "period": 1000000}


@pytest.mark.guest
def test_deadline(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"scheduler": DEADLINE}}).args("/bin/cat", "/proc/self/stat")
    fields = runtime.run(it, check=True).stdout.rpartition(")")[2].split()
    assert fields[41 - 3] == "6"


@pytest.mark.qemu
def test_deadline_on_some_cpus_only(runtime: Runtime, bundle: MakeBundle) -> None:
    """The kernel admits nobody whose CPUs are not a whole root domain."""
    error = refusal(
        runtime,
        bundle,
        {
            "process": {"scheduler": DEADLINE},
            "linux": {"resources": {"cpu": {"cpus": "0"}}},
        },
    )
    assert "process scheduler can't be used together with AllowedCPUs" in error


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"policy": "SCHED_NONE"}, "invalid scheduler policy: SCHED_NONE"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "invalid scheduler.nice: 20"),
        ({"policy": "SCHED_OTHER", "priority": 3}, "scheduler.priority can only be specified for"),
        ({"policy": "SCHED_OTHER", "runtime": 3}, "can only be specified for SchedDeadline policy"),
    ],
)
def test_scheduler_refused(runtime: Runtime, bundle: MakeBundle, changes: Json, text: str) -> None:
    assert text in refusal(runtime, bundle, {"process": {"scheduler": changes}})


@pytest.mark.parametrize(
    ("priority", "shown"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 6}, "best-effort: prio 6"),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 7}, "idle"),
        ({"class": "IOPRIO_CLASS_RT"}, "realtime: prio 0"),
    ],
)
def test_io_priority(runtime: Runtime, bundle: MakeBundle, priority: Json, shown: str) -> None:
    if priority["class"] == "IOPRIO_CLASS_RT" and os.system("ionice -c1 true 2>/dev/null"):
        pytest.skip("this machine refuses real-time I/O classes")
    printed = output(runtime, bundle, "ionice -p $$", {"process": {"ioPriority": priority}})
    assert printed.startswith(shown)


def test_personality(runtime: Runtime, bundle: MakeBundle) -> None:
    words = ["setarch", "linux32", "uname", "-m"]
    other = subprocess.run(words, check=True, text=True, capture_output=True).stdout.strip()
    for domain, shown in (("LINUX", os.uname().machine), ("LINUX32", other)):
        printed = output(runtime, bundle, "uname -m", {"linux": {"personality": {"domain": domain}}})
        assert printed == shown


def test_personality_under_a_filter_that_forbids_it(runtime: Runtime, bundle: MakeBundle) -> None:
    """It is set before a filter is loaded, with and without noNewPrivileges."""
    for no_new_privileges in (True, False):
        done = runtime.run(
            bundle(
                {
                    "process": {"noNewPrivileges": no_new_privileges},
                    "linux": {
                        "personality": {"domain": "LINUX"},
                        "seccomp": {
                            "defaultAction": "SCMP_ACT_ALLOW",
                            "syscalls": [
                                {
                                    "names": ["personality", "ioprio_set", "sched_setattr"],
                                    "action": "SCMP_ACT_KILL_PROCESS",
                                }
                            ],
                        },
                    },
                }
            ).args("/bin/true")
        )
        assert (done.returncode, done.stderr) == (0, "")


@needs(NUMA, "this kernel has no NUMA")
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "bind=static:0",
        ),
        (
            {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]},
            "prefer=relative:0",
        ),
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_LOCAL", "nodes": ""}, "local"),
    ],
)
def test_memory_policy(runtime: Runtime, bundle: MakeBundle, policy: Json, shown: str) -> None:
    printed = output(
        runtime,
        bundle,
        "head -n 1 /proc/self/numa_maps | cut -d' ' -f2",
        {"linux": {"memoryPolicy": policy}},
    )
    assert printed == shown


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({}, "invalid memory policy"),
        ({"nodes": "0-7"}, "invalid memory policy mode"),
        ({"mode": "INTERLEAVE", "nodes": "0"}, "invalid memory policy"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["bad"]}, "invalid memory policy flag"),
        ({"mode": "MPOL_DEFAULT", "nodes": "0-7"}, "mode requires 0 nodes but got 8"),
        ({"mode": "MPOL_BIND", "nodes": "0-9876543210"}, "invalid memory policy node"),
    ],
)
def test_memory_policy_refused(runtime: Runtime, bundle: MakeBundle, policy: Json, text: str) -> None:
    assert text in refusal(runtime, bundle, {"linux": {"memoryPolicy": policy}})


@needs(NUMA, "this kernel has no NUMA")
def test_a_memory_policy_that_the_kernel_refuses(runtime: Runtime, bundle: MakeBundle) -> None:
    error = refusal(runtime, bundle, {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1000"}}})
    assert "(linux/memoryPolicy): set_mempolicy: invalid argument" in error


@needs(len(os.sched_getaffinity(0)) > 1, "with one CPU there is nothing to confine to")
def test_the_affinity_of_the_caller_is_not_the_containers(runtime: Runtime, bundle: MakeBundle) -> None:
    """A runtime started under taskset(1) does not confine its containers."""
    everywhere = os.sched_getaffinity(0)
    it = bundle().shell("grep Cpus_allowed_list /proc/self/status")
    unconfined = runtime.run(it, check=True).stdout
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        assert runtime.run(it, check=True).stdout == unconfined
    finally:
        os.sched_setaffinity(0, everywhere)


def test_exec_is_treated_alike(runtime: Runtime, bundle: MakeBundle) -> None:
    """What the configuration says holds for exec, unless the process of --process says otherwise."""
    it = bundle(
        {
            "process": {
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
                "scheduler": {"policy": "SCHED_BATCH", "nice": 4},
            },
            "linux": {"personality": {"domain": "LINUX32"}},
        }
    ).args("/bin/sleep", "100")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    script = "ionice -p $$; cut -d' ' -f19,41 /proc/self/stat; uname -m"
    words = ["setarch", "linux32", "uname", "-m"]
    other = subprocess.run(words, check=True, text=True, capture_output=True).stdout
    printed = runtime.call("exec", id, "sh", "-c", script, check=True).stdout
    assert printed == f"best-effort: prio 6\n4 3\n{other}"
    process = {"cwd": "/", "args": ["/bin/ionice"], "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}
    file = it.path / "process.json"
    file.write_text(json.dumps(process))
    assert runtime.call("exec", "--process", str(file), id, check=True).stdout.startswith("idle")
