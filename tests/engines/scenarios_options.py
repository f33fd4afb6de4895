"""Options of the docker-like engines: files, the process, confinement, limits, user namespaces."""

import os
import tempfile

from engines.scenarios import EVERY, IMAGE, ROOTFUL, Engine, command, expect, scenario

# --- files -----------------------------------------------------------------------------------


@scenario(*EVERY)
def bind_mounts(e: Engine) -> None:
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        with open(f"{where}/file", "w") as file:
            file.write("from the host\n")
        out = e.shell("cat /v/file; echo x > /v/new && echo written", flags=["-v", f"{where}:/v"])
        expect(out == "from the host\nwritten\n", out)
        out = e.shell("cat /v/file; touch /v/more; echo $?", flags=["-v", f"{where}:/v:ro"])
        expect(out == "from the host\n1\n", out)
        e.shell("test -f /one/file", flags=["-v", f"{where}/file:/one/file:ro"])
        command("sh", "-c", f"rm -f {where}/new")


@scenario(*EVERY)
def named_volume(e: Engine) -> None:
    volume = f"v{os.getpid()}{e.runtime}"
    e.call("volume", "create", volume)
    try:
        e.shell("echo kept > /v/file", flags=["-v", f"{volume}:/v"])
        expect(e.shell("cat /v/file", flags=["-v", f"{volume}:/v"]) == "kept\n", "content")
        # A new volume takes over what the image has at that place.
        expect("alice" in e.shell("ls /home", flags=["-v", f"{volume}x:/home"]), "copied up")
    finally:
        e.call("volume", "rm", "-f", volume, status=None)
        e.call("volume", "rm", "-f", f"{volume}x", status=None)


@scenario(*EVERY)
def tmpfs_mount(e: Engine) -> None:
    out = e.shell("grep ' /t ' /proc/mounts", flags=["--tmpfs", "/t:size=1m,mode=700,noexec"])
    expect("size=1024k" in out and "noexec" in out and "mode=700" in out, out)


@scenario(*EVERY)
def read_only(e: Engine) -> None:
    out = e.shell("touch /x; echo $?; touch /t/x; echo $?", flags=["--read-only", "--tmpfs", "/t"])
    expect(out == "1\n0\n", out)


@scenario(*EVERY)
def shm_size(e: Engine) -> None:
    out = e.shell("grep ' /dev/shm ' /proc/mounts", flags=["--shm-size", "2m"])
    expect("size=2048k" in out, out)


@scenario(*EVERY)
def etc_files(e: Engine) -> None:
    out = e.shell("cat /etc/hostname /etc/hosts; hostname", flags=["--hostname", "given"])
    expect(out.count("given") >= 2, out)


# --- process ---------------------------------------------------------------------------------


@scenario(*EVERY)
def user_and_groups(e: Engine) -> None:
    out = e.shell("id -u; id -g; id -G", flags=["--user", "1000:50", "--group-add", "7"])
    uid, gid, groups = out.splitlines()
    expect((uid, gid) == ("1000", "50") and "7" in groups.split(), out)
    out = e.shell("id -u; echo $HOME", flags=["--user", "alice"])
    expect(out == "1000\n/home/alice\n", out)


@scenario(*EVERY)
def environment(e: Engine) -> None:
    out = e.shell("echo $A; echo $HOME; pwd", flags=["-e", "A=b c", "-w", "/home/alice"])
    expect(out == "b c\n/root\n/home/alice\n", out)


@scenario(*EVERY)
def ulimit(e: Engine) -> None:
    flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"]
    out = e.shell("ulimit -Sn; ulimit -Hn; ulimit -c", flags=flags)
    expect(out == "100\n200\n0\n", out)


@scenario(*EVERY)
def sysctl(e: Engine) -> None:
    flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=12345678"]
    out = e.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", flags=flags)
    expect(out == "1\n12345678\n", out)


@scenario(*EVERY)
def oom_score(e: Engine) -> None:
    out = e.shell("cat /proc/self/oom_score_adj", flags=["--oom-score-adj", "500"])
    expect(out == "500\n", out)


# --- confinement -----------------------------------------------------------------------------


@scenario(*EVERY)
def cap_drop(e: Engine) -> None:
    out = e.shell("grep Cap /proc/self/status", flags=["--cap-drop", "all"])
    expect(all(line.split()[1].strip("0") == "" for line in out.splitlines()), out)


@scenario(*EVERY)
def cap_add(e: Engine) -> None:
    flags = ["--cap-drop", "all", "--cap-add", "NET_ADMIN"]
    out = e.shell("grep CapEff /proc/self/status", flags=flags)
    expect(int(out.split()[1], 16) == 1 << 12, out)


@scenario(*EVERY)
def privileged(e: Engine) -> None:
    out = e.shell("mount -t tmpfs t /tmp && echo mounted; ls /dev | wc -l", flags=["--privileged"])
    lines = out.splitlines()
    expect(lines[0] == "mounted" and int(lines[1]) > 15, out)


@scenario(*EVERY)
def no_new_privileges(e: Engine) -> None:
    flags = ["--security-opt", "no-new-privileges"]
    out = e.shell("grep NoNewPrivs /proc/self/status", flags=flags)
    expect(out.split() == ["NoNewPrivs:", "1"], out)


@scenario(*EVERY)
def seccomp_default(e: Engine) -> None:
    out = e.shell("grep Seccomp: /proc/self/status")
    expect(out.split() == ["Seccomp:", "2"], out)


@scenario(*EVERY)
def seccomp_unconfined(e: Engine) -> None:
    flags = ["--security-opt", "seccomp=unconfined"]
    out = e.shell("grep Seccomp: /proc/self/status", flags=flags)
    expect(out.split() == ["Seccomp:", "0"], out)


@scenario(*EVERY)
def seccomp_own(e: Engine) -> None:
    profile = (
        '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],'
        '"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        os.chmod(file.name, 0o644)
        file.write(profile)
        file.flush()
        flags = ["--security-opt", f"seccomp={file.name}"]
        expect(e.shell("mkdir /x; echo $?", flags=flags) == "1\n", "mkdir is refused")


@scenario(*EVERY)
def masked_paths(e: Engine) -> None:
    out = e.shell("head -c 1 /proc/kcore | wc -c; ls /sys/firmware | wc -l; touch /proc/sys/x; echo $?")
    expect(out == "0\n0\n1\n", out)


@scenario(*EVERY)
def namespaces_of_the_host(e: Engine) -> None:
    flags = ["--pid", "host", "--ipc", "host", "--uts", "host"]
    out = e.shell("for n in pid ipc uts; do readlink /proc/self/ns/$n; done", flags=flags)
    host = [os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "uts")]
    expect(out.split() == host, out)


@scenario(*EVERY)
def network_of_the_host(e: Engine) -> None:
    answer = e.call("run", "--rm", "--network", "host", IMAGE, "/bin/readlink", "/proc/self/ns/net")
    expect(answer.out.strip() == os.readlink("/proc/self/ns/net"), answer)


@scenario(*EVERY)
def namespaces_of_another(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    script = "for n in pid ipc; do readlink /proc/self/ns/$n; done"
    first = e.exec(name, script).out
    flags = ["--pid", f"container:{name}"]
    expect(e.shell("readlink /proc/self/ns/pid", flags=flags) == first.splitlines()[0] + "\n", first)


# --- limits ----------------------------------------------------------------------------------


@scenario(*EVERY)
def memory_limit(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["-m", "32m"])
    expect(e.exec(name, "cat /sys/fs/cgroup/memory.max").out == "33554432\n", "memory.max")


@scenario(*EVERY)
def memory_small(e: Engine) -> None:
    e.run("/bin/true", flags=["-m", "6m"])


@scenario(*ROOTFUL)
def memory_exceeded(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "x=a; while :; do x=$x$x; done", flags=["-m", "16m"])
    e.call("wait", name)
    state = e.inspect(name)["State"]
    expect(state["ExitCode"] == 137, state)
    # podman's conmon sees why only if it looks in time; User-mode Linux tells docker nothing.
    expect(state["OOMKilled"] or e.name == "podman" or e.machine == "uml", state)


@scenario(*EVERY)
def cpu_limit(e: Engine) -> None:
    out = e.shell("cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight", flags=["--cpus", "0.5"])
    expect(out.startswith("50000 100000\n"), out)


@scenario(*EVERY)
def pids_limit(e: Engine) -> None:
    out = e.shell("cat /sys/fs/cgroup/pids.max", flags=["--pids-limit", "20"])
    expect(out == "20\n", out)


@scenario(*ROOTFUL, machine="qemu")
def cpuset(e: Engine) -> None:
    out = e.shell("grep Cpus_allowed_list /proc/self/status", flags=["--cpuset-cpus", "1"])
    expect(out.split()[1] == "1", out)


@scenario(*EVERY)
def update_limits(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["-m", "32m"])
    e.call("update", "-m", "64m", "--memory-swap", "128m", "--cpus", "0.3", name)
    out = e.exec(name, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max").out
    expect(out == "67108864\n30000 100000\n", out)


@scenario(*ROOTFUL)
def devices(e: Engine) -> None:
    flags = ["--device", "/dev/fuse"]
    out = e.shell("stat -c '%F %t:%T' /dev/fuse; head -c 1 /dev/kmsg; echo $?", flags=flags)
    expect(out.startswith("character special file a:e5\n") and not out.endswith("\n0\n"), out)


@scenario(*ROOTFUL)
def devices_denied(e: Engine) -> None:
    out = e.shell("mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; echo $?", flags=["--cap-add", "MKNOD"])
    expect(out.strip().endswith("1"), out)


# --- user namespaces -------------------------------------------------------------------------


@scenario("podman")
def user_namespace(e: Engine) -> None:
    out = e.shell("cat /proc/self/uid_map; id -u; touch /x && echo wrote", flags=["--uidmap", "0:200000:5000"])
    expect(out.split() == ["0", "200000", "5000", "0", "wrote"], out)


@scenario("podman")
def user_namespace_bind(e: Engine) -> None:
    with tempfile.TemporaryDirectory() as where:
        os.chown(where, 200000, 200000)
        flags = ["--uidmap", "0:200000:5000", "-v", f"{where}:/v"]
        expect(e.shell("stat -c %u /v; touch /v/x && echo wrote", flags=flags) == "0\nwrote\n", "")


@scenario("podman-rootless")
def keep_id(e: Engine) -> None:
    expect(e.shell("id -u", flags=["--userns", "keep-id"]) == "1000\n", "the caller's id")
