"""Options of `run`: what a container sees has to be the same with the subject as with the control.

A scenario of this file returns what its container printed, without what differs from container to
container (names, numbers, times); compare.py holds the two against each other.
"""

import os
import re
from pathlib import Path

from engines.scenarios import ALL, EVERY, IMAGE, PODMEN, ROOTFUL, Engine, Scenario, command

DIRECTORY = Path("/var/tmp/engines/same")

# What a container can see of how it was made. `##` begins a part.
PROBE = r"""
echo '## status'
grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp:|Sig(Ign|Blk)|Cpus_allowed_list)' /proc/self/status
cat /proc/self/oom_score_adj; umask; pwd; hostname
echo '## limits'; cat /proc/self/limits
echo '## environment'; env | grep -Ev '^(HOSTNAME|_)=' | sort
echo '## maps'; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
echo '## mounts'; cat /proc/self/mountinfo
echo '## devices'; ls -ln /dev | sed 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /'
echo '## folders'; ls -ldn / /dev /dev/shm /dev/mqueue /proc /sys /tmp /v /etc/resolv.conf |
    sed 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /'
echo '## cgroup'
cd /sys/fs/cgroup 2>/dev/null && for f in memory.max memory.high memory.low memory.swap.max cpu.max \
    cpu.weight pids.max io.max io.weight cpuset.cpus cgroup.type; do
    test -e $f && echo $f $(cat $f)
done
echo '## descriptors'; for f in /proc/self/fd/*; do test -e $f && echo $f; done | grep -v '/3$'
echo '## writable'
for f in /proc/sys/kernel/shmmax /proc/sysrq-trigger /proc/sys/net/ipv4/ip_forward /sys/fs/cgroup /dev/x /x; do
    test -w $f && echo $f
done
head -c 1 /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware 2>/dev/null | wc -l; ls /proc/acpi 2>/dev/null | wc -l
for n in ipc uts net pid cgroup user time; do
    test "$(readlink /proc/self/ns/$n)" = "$(eval echo \$HOST_$n)" && echo host $n
done
true
"""


def without_numbers(text: str) -> str:
    """A container's answer without names and numbers that are its own."""
    lines = []
    part = ""
    for line in text.splitlines():
        if line.startswith("##"):
            part = line[3:]
        elif part == "mounts":
            line = mount(line)
        elif part in ("devices", "folders") and re.match(r"d\S+ +\d+ ", line):
            # Links and size of a folder tell how many processes the host has, or devices.
            line = re.sub(r"^(\S+) +\d+ +(\d+) +(\d+) +\d+ ", r"\1 \2 \3 ", line)
        # Capabilities and signals are numbers of that kind, too.
        line = re.sub(r"^[0-9a-f]{12}$" if part == "status" else r"\b[0-9a-f]{12,64}\b", "ID", line)
        line = re.sub(r"/userdata/overlay/\d+/", "/userdata/overlay/N/", line)
        line = re.sub(r"\b(s|v|pod)\d+(runc|pyrunc)?\b", "NAME", line)
        lines.append(line)
    return "\n".join(sort_binds(lines))


def sort_binds(lines: list[str]) -> list[str]:
    """The engine's mounts of files of its own come in any order; the others' order is kept."""
    own = ("/etc/", "/run/.", "/dev/shm ", "/tmp ", "/run ", "/var/tmp ")
    begin = next((n for n, line in enumerate(lines) if line == "## mounts"), len(lines))
    end = next((n for n, line in enumerate(lines) if n > begin and line.startswith("##")), len(lines))
    part = lines[begin + 1 : end]
    movable = sorted(line for line in part if line.startswith(own))
    fixed = [line for line in part if not line.startswith(own)]
    return [*lines[: begin + 1], *fixed, *movable, *lines[end:]]


def mount(line: str) -> str:
    """A line of mountinfo: destination, file system, options and whether it is a slave or shared."""
    try:
        front, back = line.split(" - ")
    except ValueError:
        return line
    fields = front.split()
    kind, source, options = back.split(" ", 2)
    propagation = " ".join(field.split(":")[0] for field in fields[6:])
    settings = ",".join(sorted(fields[5].split(",")))
    # Masked folders are tmpfs: how small and who made them differs, documented in diff_known.py.
    super_options = "" if kind in ("overlay", "tmpfs", "ext4") and "size=" not in options else options
    if kind == "tmpfs" and ("size=0k" in options or "nr_inodes=1" in options):
        super_options, source = "masked", "tmpfs"
    if kind == "overlay":
        super_options = "ro" if options.startswith("ro") else "rw"
    super_options = ",".join(
        sorted(o for o in super_options.split(",") if not o.startswith(("inode64", "gid=", "uid=")))
    )
    return f"{fields[4]} {kind} {source} {settings} {propagation} {super_options}"


def ready_directory() -> None:
    """The host's directory that is mounted: a file, a folder, a tmpfs below it, a link."""
    if os.path.ismount(DIRECTORY / "tmpfs"):
        command("umount", str(DIRECTORY / "tmpfs"))
    command("rm", "-rf", str(DIRECTORY))
    (DIRECTORY / "tmpfs").mkdir(parents=True)
    command("mount", "-t", "tmpfs", "-o", "nosuid", "tmpfs", str(DIRECTORY / "tmpfs"))
    (DIRECTORY / "folder").mkdir()
    (DIRECTORY / "file").write_text("content\n")
    (DIRECTORY / "tmpfs/file").write_text("below\n")
    (DIRECTORY / "link").symlink_to("file")
    command("chown", "-R", "1000:1000", str(DIRECTORY))
    command("chmod", "-R", "a+rwX", str(DIRECTORY))


def same(
    name: str,
    engines: tuple[str, ...],
    *flags: str,
    script: str = PROBE,
    words: tuple[str, ...] = (),
    machine: str = "",
) -> None:
    """Make a scenario: run a container with the flags, return what it says."""

    def act(e: Engine) -> str:
        ready_directory()
        host = [f"HOST_{n}={os.readlink(f'/proc/self/ns/{n}')}" for n in "ipc uts net pid cgroup user time".split()]
        body = "; ".join(f"{h.replace('=', '=' + chr(39))}{chr(39)}" for h in host) + "\n" + script
        network = () if any(f.startswith(("--net", "--pod")) for f in flags) else e.run_flags
        inside = words or ("/bin/sh", "-c", body)
        answer = e.call(
            "run", "--rm", *network, *(f.replace("{dir}", str(DIRECTORY)) for f in flags), IMAGE, *inside, status=None
        )
        command("umount", str(DIRECTORY / "tmpfs"))
        if answer.status >= 125 and "##" not in answer.out:
            return f"status {answer.status}, {phrases(answer.err)}"
        return without_numbers(f"status {answer.status}\n{answer.out}")

    ALL.append(Scenario(f"same-{name}", engines, act, machine))


PHRASES = (
    "permission denied", "operation not permitted", "executable file not found in $path", "is a directory",
    "no such file or directory", "not a directory", "invalid argument", "no such device", "not supported",
)  # fmt: skip


def phrases(text: str) -> str:
    """Which of the phrases that engines and people look for an error has."""
    text = text.lower()
    return ", ".join(p for p in PHRASES if p in text) or "none of the known phrases"


# --- as it is, and privileges ------------------------------------------------------------------

same("default", EVERY)
same("init", EVERY, "--init")
same("privileged", EVERY, "--privileged")
same("privileged-user", EVERY, "--privileged", "--user", "1000")
same("privileged-read-only", EVERY, "--privileged", "--read-only")
same("read-only", EVERY, "--read-only")
same("read-only-tmpfs", EVERY, "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run:rw,size=1m")
same("read-only-without-tmpfs", PODMEN, "--read-only", "--read-only-tmpfs=false")
same("user", EVERY, "--user", "1000:50", "--group-add", "7", "--group-add", "8")
same("user-name", EVERY, "--user", "alice")
same("user-capability", EVERY, "--user", "1000", "--cap-add", "NET_BIND_SERVICE")
same("capability-add-all", EVERY, "--cap-add", "all")
same("capability-drop-all", EVERY, "--cap-drop", "all")
same("capability-some", EVERY, "--cap-drop", "all", "--cap-add", "chown", "--cap-add", "SYS_ADMIN")
same("capability-unknown", EVERY, "--cap-add", "NO_SUCH")
same("no-new-privileges", EVERY, "--security-opt", "no-new-privileges")
same("seccomp-unconfined", EVERY, "--security-opt", "seccomp=unconfined")
same("seccomp-missing", EVERY, "--security-opt", "seccomp=/no/such/profile")
same("mask", PODMEN, "--security-opt", "mask=/proc/version:/tmp:/etc/passwd")
same("unmask-all", PODMEN, "--security-opt", "unmask=ALL")
same("unmask-some", PODMEN, "--security-opt", "unmask=/proc/kcore:/sys/firmware")
same("unmask-glob", PODMEN, "--security-opt", "unmask=/proc/*")
same("systempaths", ("docker",), "--security-opt", "systempaths=unconfined")
same("proc-opts", PODMEN, "--security-opt", "proc-opts=hidepid=invisible,subset=pid")
same("apparmor-unconfined", ROOTFUL, "--security-opt", "apparmor=unconfined")
same("apparmor-missing", ROOTFUL, "--security-opt", "apparmor=no-such-profile", machine="qemu")
same("label-disable", PODMEN, "--security-opt", "label=disable")
same("umask", PODMEN, "--umask", "0077")
same("personality", PODMEN, "--personality", "LINUX32", script="uname -m")
same("environment", EVERY, "-e", "A=b c", "-e", "EMPTY=", "-e", "TERM")
same("unset-environment", PODMEN, "--unsetenv", "PATH", words=("/bin/env",))
same("workdir-new", ("docker",), "-w", "/new/folder")
same("workdir-missing", PODMEN, "-w", "/new/folder")
same("entrypoint", EVERY, "--entrypoint", "/bin/echo", words=("through", "entrypoint"))
same("hostname", EVERY, "--hostname", "given")
same("domainname", ("docker",), "--domainname", "example.org", script="cat /proc/sys/kernel/domainname")
same("add-host", EVERY, "--add-host", "other:192.0.2.9", script="grep other /etc/hosts")
same("tz", PODMEN, "--tz", "UTC", script="ls -l /etc/localtime | wc -l")
same("no-hosts", PODMEN, "--no-hosts")

# --- limits ------------------------------------------------------------------------------------

same("ulimits", EVERY, "--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "stack=1000000:2000000")
same("ulimit-unlimited", ROOTFUL, "--ulimit", "memlock=-1:-1", "--ulimit", "nofile=1048576:1048576")
same("ulimit-host", PODMEN, "--ulimit", "host")
same("ulimit-backwards", EVERY, "--ulimit", "nofile=200:100")
same("oom-score", EVERY, "--oom-score-adj", "500")
same("oom-score-negative", EVERY, "--oom-score-adj", "-500")
same("oom-score-too-much", EVERY, "--oom-score-adj", "5000")
same("sysctls", EVERY, "--sysctl", "kernel.shmmax=12345678", "--sysctl", "kernel.msgmax=8193")
same("sysctl-network", EVERY, "--sysctl", "net.ipv4.ip_forward=1", script="cat /proc/sys/net/ipv4/ip_forward")
same("sysctl-slashes", PODMEN, "--sysctl", "net/ipv4/ip_forward=1", script="cat /proc/sys/net/ipv4/ip_forward")
same("sysctl-of-host", EVERY, "--sysctl", "kernel.panic=7")
same("sysctl-bad-value", EVERY, "--sysctl", "kernel.shmmax=many")
same("memory", EVERY, "-m", "64m")
same("memory-swap", EVERY, "-m", "64m", "--memory-swap", "128m")
same("memory-swap-unlimited", EVERY, "-m", "64m", "--memory-swap", "-1")
same("memory-reservation", EVERY, "-m", "64m", "--memory-reservation", "32m")
same("memory-swappiness", EVERY, "--memory-swappiness", "50")
same("memory-too-little", EVERY, "-m", "1k")
same("cpus", EVERY, "--cpus", "0.75")
same("cpu-shares", EVERY, "--cpu-shares", "2")
same("cpu-shares-many", EVERY, "--cpu-shares", "2048")
same("cpu-quota", EVERY, "--cpu-quota", "30000", "--cpu-period", "50000")
same("cpuset", ROOTFUL, "--cpuset-cpus", "0", "--cpuset-mems", "0", machine="qemu")
same("cpuset-missing", ROOTFUL, "--cpuset-cpus", "99", machine="qemu")
same("pids", EVERY, "--pids-limit", "20")
same("pids-unlimited", EVERY, "--pids-limit", "-1")
same("pids-zero", EVERY, "--pids-limit", "0")
same("blkio-weight", ROOTFUL, "--blkio-weight", "300")
same("device-bps", ROOTFUL, "--device-write-bps", "/dev/ubda:1mb", "--device-read-iops", "/dev/ubda:100")
same("cgroup-conf", PODMEN, "--cgroup-conf", "memory.high=33554432", "--cgroup-conf", "memory.low=1048576")
same("cgroup-conf-bad", PODMEN, "--cgroup-conf", "no.such=1")
same("cgroupns-host", EVERY, "--cgroupns", "host")
same("cgroupns-private", EVERY, "--cgroupns", "private")
same("cgroups-no-conmon", PODMEN, "--cgroups", "no-conmon")
same("cgroups-split", ("podman",), "--cgroups", "split")
same("shm-size", EVERY, "--shm-size", "2m")

# --- devices -----------------------------------------------------------------------------------

same("device", EVERY, "--device", "/dev/fuse")
same(
    "device-renamed",
    ROOTFUL,
    "--device",
    "/dev/fuse:/dev/f:r",
    script=PROBE + "\nhead -c 1 /dev/f >/dev/null; echo x >/dev/f; true",
)
same("device-missing", EVERY, "--device", "/dev/no-such")
same("device-folder", ROOTFUL, "--device", "/dev/pts:/dev/other")
same("device-rule", ROOTFUL, "--device-cgroup-rule", "c 1:11 r", "--cap-add", "MKNOD",
     script="mknod /k c 1 11; dd if=/k of=/dev/null bs=1 count=0; echo $?; echo x >/k; true")  # fmt: skip
same("device-rule-any", ROOTFUL, "--device-cgroup-rule", "a *:* rwm", "--cap-add", "MKNOD",
     script="mknod /k c 1 11; dd if=/k of=/dev/null bs=1 count=0; echo $?")  # fmt: skip
same("device-denied", ROOTFUL, script="mknod /k c 1 11; dd if=/k of=/dev/null bs=1 count=0; echo $?")
same(
    "device-default",
    EVERY,
    script="for d in null zero full random urandom tty; do dd if=/dev/$d of=/dev/null bs=1 count=1; echo $d $?; done",
)

# --- namespaces --------------------------------------------------------------------------------

same("pid-host", EVERY, "--pid", "host")
same("ipc-host", EVERY, "--ipc", "host")
same("ipc-none", EVERY, "--ipc", "none")
same("ipc-private", EVERY, "--ipc", "private")
same("ipc-shareable", EVERY, "--ipc", "shareable")
same("uts-host", EVERY, "--uts", "host")
same("network-host", EVERY, "--network", "host")
same("network-host-sysctl", EVERY, "--network", "host", "--sysctl", "net.ipv4.ip_forward=1")
same("all-of-host", EVERY, "--network", "host", "--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "host")
same(
    "all-of-host-privileged",
    EVERY,
    "--network",
    "host",
    "--pid",
    "host",
    "--ipc",
    "host",
    "--uts",
    "host",
    "--privileged",
)
same("userns-host", PODMEN, "--userns", "host")
same("userns-host-docker", ("docker",), "--userns", "host")
same("userns-keep-id", ("podman-rootless",), "--userns", "keep-id")
same("userns-keep-id-as", ("podman-rootless",), "--userns", "keep-id:uid=200,gid=210")
same("userns-nomap", ("podman-rootless",), "--userns", "nomap")
same("userns-auto", PODMEN, "--userns", "auto:size=2000")
same("uidmap", ("podman",), "--uidmap", "0:200000:5000", "--gidmap", "0:300000:5000")
same("uidmap-no-root", ("podman",), "--uidmap", "1000:200000:1", "--gidmap", "0:300000:5000", "--user", "1000")
same("uidmap-user", ("podman",), "--uidmap", "0:200000:5000", "--user", "1000:50")
same("uidmap-privileged", ("podman",), "--uidmap", "0:200000:5000", "--privileged")
same("uidmap-network-host", ("podman",), "--uidmap", "0:200000:5000", "--network", "host")
same("uidmap-ipc-pid-host", ("podman",), "--uidmap", "0:200000:5000", "--ipc", "host", "--pid", "host")
same("uidmap-device", ("podman",), "--uidmap", "0:200000:5000", "--device", "/dev/fuse")
same("uidmap-tmpfs", ("podman",), "--uidmap", "0:200000:5000", "--tmpfs", "/t:uid=5,gid=6,mode=750",
     script=PROBE + "\nls -ldn /t | cut -c1-40")  # fmt: skip

# --- mounts ------------------------------------------------------------------------------------

SEE = (
    PROBE
    + r"""
echo '## seen'
ls -1nR /v | sed 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /'
for f in /v/file /v/new /v/tmpfs/new /v/folder/new; do echo x >$f; echo $f $?; done 2>&1
cat /v/file /v/tmpfs/file
"""
)
for option in "ro", "rw", "rprivate", "private", "rslave", "slave", "rshared", "shared", "z", "Z", "ro,z":
    same(f"volume-{option}", EVERY, "-v", f"{{dir}}:/v:{option}", script=SEE)
for option in (
    "U",
    "O",
    "noexec",
    "exec",
    "nosuid",
    "nodev,nosuid,noexec",
    "bind",
    "rbind",
    "ro,rslave",
    "unbindable",
    "idmap",
    "ro,noexec",
):
    same(f"volume-{option}", PODMEN, "-v", f"{{dir}}:/v:{option}", script=SEE)
same("volume-idmap-uidmap", ("podman",), "--uidmap", "0:200000:5000", "-v", "{dir}:/v:idmap", script=SEE)
same("volume-idmap-own", ("podman",), "-v", "{dir}:/v:idmap=uids=1000-0-1;gids=1000-0-1", script=SEE)
same("volume-U-uidmap", ("podman",), "--uidmap", "0:200000:5000", "-v", "{dir}:/v:U", script=SEE)
same(
    "volume-file",
    EVERY,
    "-v",
    "{dir}/file:/deep/er/file:ro",
    script="cat /deep/er/file; echo x >/deep/er/file; ls -l /deep/er | wc -l",
)
same("volume-link", EVERY, "-v", "{dir}/link:/deep/link", script="cat /deep/link")
same("volume-two", EVERY, "-v", "{dir}:/v", "-v", "{dir}/folder:/v/folder:ro", script=SEE)
same(
    "volume-dev",
    EVERY,
    "-v",
    "/dev:/dev",
    script="test -e /dev/ubda || test -e /dev/vda; echo $?; ls -d /dev/shm /dev/pts",
)
same(
    "volume-proc", EVERY, "-v", "/proc:/hostproc:ro", script="grep -c hostproc /proc/self/mountinfo >/dev/null; echo $?"
)
same("volume-over-proc", EVERY, "-v", "{dir}:/proc")
same("volume-below-proc", EVERY, "-v", "{dir}/file:/proc/version", script="cat /proc/version")
same("volume-below-sys", EVERY, "-v", "{dir}:/sys/class/x")
same(
    "volume-cgroup",
    ROOTFUL,
    "-v",
    "/sys/fs/cgroup:/sys/fs/cgroup:ro",
    script="test -d /sys/fs/cgroup/system.slice; echo $?",
)
same("volume-root", EVERY, "-v", "{dir}:/")
same("volume-over-file", EVERY, "-v", "{dir}:/etc/passwd")
same("volume-resolv", EVERY, "-v", "{dir}/file:/etc/resolv.conf", script="cat /etc/resolv.conf")
for options in (
    "type=bind,source={dir},target=/v", "type=bind,source={dir},target=/v,readonly",
    "type=bind,source={dir},target=/v,bind-propagation=rslave", "type=tmpfs,target=/v",
    "type=tmpfs,target=/v,tmpfs-size=1m,tmpfs-mode=0750", "type=tmpfs,target=/home", "type=volume,target=/v",
    "type=volume,target=/home", "type=bind,source={dir}/none,target=/v",
):  # fmt: skip
    same(f"mount-{options}".replace("{dir}", "DIR"), EVERY, "--mount", options, script=SEE)
for options in (
    "type=bind,source={dir},target=/v,bind-nonrecursive=true", "type=bind,source={dir},target=/v,ro=true,exec=false",
    "type=bind,source={dir},target=/v,relabel=shared", "type=tmpfs,target=/home,notmpcopyup", "type=devpts,target=/v",
    "type=devpts,target=/v,uid=5,gid=6,mode=0600,max=4", "type=ramfs,target=/v",
    "type=image,source=localhost/bb:latest,target=/v",
    "type=glob,source={dir}/f*,target=/v/", "type=tmpfs,target=/v,U=true",
    "type=bind,source={dir},target=/v,chown=true",
    "type=image,source=localhost/bb:latest,target=/v,rw=true",
):  # fmt: skip
    same(f"mount-{options}".replace("{dir}", "DIR"), PODMEN, "--mount", options, script=SEE)
for options in (
    "type=bind,source={dir},target=/v,readonly,bind-recursive=readonly,bind-propagation=rprivate",
    "type=bind,source={dir},target=/v,readonly,bind-recursive=writable",
    "type=bind,source={dir},target=/v,bind-recursive=disabled",
    "type=volume,target=/home,volume-nocopy",
):  # fmt: skip
    same(f"mount-{options}".replace("{dir}", "DIR"), ("docker",), "--mount", options, script=SEE)
for options in "rw,size=1m,mode=700,noexec", "ro", "exec,suid,dev", "size=10%", "nr_inodes=10":
    same(f"tmpfs-{options}", EVERY, "--tmpfs", f"/v:{options}", script=SEE)
for options in "notmpcopyup", "tmpcopyup", "uid=1000,gid=50", "noatime", "U":
    same(f"tmpfs-{options}", PODMEN, "--tmpfs", f"/home:{options}", script=SEE + "ls -ln /home | wc -l")

# --- engines' other switches -------------------------------------------------------------------

same("systemd-always", PODMEN, "--systemd", "always")
same("systemd-always-read-only", PODMEN, "--systemd", "always", "--read-only")
same("log-none", EVERY, "--log-driver", "none")
same("log-passthrough", PODMEN, "--log-driver", "passthrough", script=PROBE)
same("group-keep", ("podman-rootless",), "--group-add", "keep-groups")
same("chrootdirs", PODMEN, "--chrootdirs", "/home", script="ls /home/etc")
same("no-passwd", PODMEN, "--passwd=false", "--user", "4321", script="id -u; cat /etc/passwd")
same("passwd-entry", PODMEN, "--user", "4321", script="id -u; cat /etc/passwd; echo $HOME")
same("annotation", EVERY, "--annotation", "org.example.a=b")
same("timeout", PODMEN, "--timeout", "1", words=("/bin/sleep", "60"))
same("stop-signal", EVERY, "--stop-signal", "USR1")
same("no-rm-mount", EVERY, "--label", "a=b", "--stop-timeout", "3")
same("error-command", EVERY, words=("no-such-command",))
same("error-file", EVERY, words=("/no/such/file",))
same("error-permission", EVERY, words=("/etc/passwd",))
same("error-folder", EVERY, words=("/tmp",))
same("error-interpreter", EVERY, words=("/bin/bad-interpreter",))
same("error-command-of-user", EVERY, "--user", "1000", words=("/root/x",))
same("error-workdir-file", EVERY, "-w", "/etc/passwd")
same("error-user", EVERY, "--user", "nobody-here")
same("error-group", EVERY, "--user", "0:nobody-here")
same("error-user-too-great", EVERY, "--user", "4294967296")
same("runtime-flag-debug", ("docker",), "--runtime", "no-such-runtime")
