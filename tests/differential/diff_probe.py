"""What runs inside the container, and what is read out of its report.

The probe is one busybox shell: it reads its own /proc entries, so what it prints is what execve
left behind. It reads its status without a child: while it makes one, its signals are blocked.
"""

import re

SCRIPT = r"""
s() { echo "@@ $1"; }
p=/proc/$$
s status; while read -r l; do echo "$l"; done < $p/status
s mountinfo; cat $p/mountinfo
s environ; tr '\n\0' '\001\n' < $p/environ
s cwd; readlink $p/cwd
s limits; cat $p/limits
s cmdline; tr '\0' '\n' < $p/cmdline | head -n 2
s exe; readlink $p/exe
s fds; for f in $p/fd/*; do printf '%s ' "${f##*/}"; readlink $f || echo closed; done
s uts; uname -m; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname
s cgroup; cat $p/cgroup
s ns; for n in $p/ns/*; do echo "${n##*/} $(readlink $n)"; done
s files; for f in oom_score_adj personality timens_offsets uid_map gid_map setgroups \
    coredump_filter; do test -e $p/$f && echo "$f" $(cat $p/$f 2>&1); done
s stat; cat $p/stat
s ionice; ionice -p $$
s dev; find /dev ! -type d ! -path '/dev/pts/[0-9]*' -exec stat -c '%n %F %a %t:%T %u:%g' {} +
s links; find /dev -type l | while read f; do printf '%s ' "$f"; readlink "$f"; done
s dirs; for d in / /dev /dev/pts /dev/shm /dev/mqueue /proc /sys /sys/fs/cgroup; do
    test -e $d && stat -c '%n %F %a %u:%g' $d; done
s lo; cat /sys/class/net/lo/flags; ls /sys/class/net
s masked; for f in /proc/kcore /proc/keys /proc/timer_list; do
    test -e $f && echo "$f $(stat -c '%F %t:%T' $f) $(cat $f 2>&1 | head -c 40 | wc -c)"; done
    for d in /proc/scsi /sys/firmware /proc/acpi; do test -e $d && echo "$d $(ls $d | wc -l)"; done
s readonly; for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do
    (: >> $f) 2>/dev/null && echo "$f writable" || echo "$f refused"; done
s write; for d in / /dev /tmp /proc /sys; do
    (: > $d/.w) 2>/dev/null && { rm -f $d/.w; echo "$d writable"; } || echo "$d refused"; done
s end
"""

STATUS_KEYS = (
    "Umask Uid Gid Groups NSpid CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp "
    "Seccomp_filters SigBlk SigIgn SigCgt SigPnd ShdPnd Cpus_allowed_list Mems_allowed_list Threads"
).split()

Facts = dict[str, str]


def sections(output: str) -> dict[str, list[str]]:
    """Split the report at its "@@ name" lines."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("@@ "):
            lines = found.setdefault(line[3:].strip(), [])
        else:
            lines.append(line.rstrip("\r"))
    return found


def facts(output: str, host_namespaces: dict[str, str]) -> Facts:
    """Flatten a report to "section.key" -> value, to be compared key by key."""
    report = sections(output)
    result: Facts = {"complete": str("end" in report)}
    for name, lines in report.items():
        reader = READERS.get(name)
        if reader is not None:
            for key, value in reader(lines).items():
                result[f"{name}.{key}"] = value
    for line in report.get("ns", []):
        kind, _, link = line.partition(" ")
        result[f"ns.{kind}"] = "host" if host_namespaces.get(kind) == link else "own"
    return result


def _status(lines: list[str]) -> Facts:
    found = dict(line.partition(":")[::2] for line in lines)
    return {key: " ".join(found.get(key, "absent").split()) for key in STATUS_KEYS}


def _propagation(fields: list[str]) -> str:
    kinds = sorted({field.partition(":")[0] for field in fields})
    return ",".join(kinds) or "private"


def _super_options(text: str) -> str:
    """Sorted, without what depends on the machine or on inode counters."""
    drop = re.compile(r"^(inode64|inode32|xino=.*|lowerdir=.*|upperdir=.*|workdir=.*|errors=.*)$")
    return ",".join(sorted(o for o in text.split(",") if not drop.match(o)))


def _mountinfo(lines: list[str]) -> Facts:
    result: Facts = {}
    order: list[str] = []
    for line in lines:
        left, _, right = line.partition(" - ")
        before = left.split(" ")
        after = right.split(" ")
        if len(before) < 6 or len(after) < 3:
            continue
        key = before[4]
        while f"{key}.type" in result:
            key += "+"
        # What is masked or read-only has no order that anyone could see.
        if not key.startswith(("/proc/", "/sys/firmware")):
            order.append(key)
        result[f"{key}.type"] = after[0]
        result[f"{key}.root"] = re.sub(r"^pid:\[\d+\]", "pid:[]", before[3])
        result[f"{key}.options"] = ",".join(sorted(before[5].split(",")))
        result[f"{key}.propagation"] = _propagation(before[6:])
        result[f"{key}.source"] = after[1]
        result[f"{key}.super"] = _super_options(after[2])
    result["order"] = " ".join(order)
    return result


def _environ(lines: list[str]) -> Facts:
    names = [line.partition("=")[0] for line in lines]
    result = {"names": " ".join(sorted(names))}
    for line in lines:
        name, _, value = line.partition("=")
        result[name] = value
    return result


def _limits(lines: list[str]) -> Facts:
    found = {}
    for line in lines[1:]:
        match = re.match(r"(Max .*?)\s{2,}(\S+)\s+(\S+)", line)
        if match:
            found[match[1]] = f"{match[2]} {match[3]}"
    return found


def _first_word(lines: list[str]) -> Facts:
    return dict(line.partition(" ")[::2] for line in lines)


def _fds(lines: list[str]) -> Facts:
    result = {}
    for line in lines:
        number, _, target = line.partition(" ")
        if target != "closed":
            result[number] = re.sub(r":\[\d+\]", ":[]", target)
    return result


def _stat(lines: list[str]) -> Facts:
    fields = lines[0].rpartition(")")[2].split() if lines else []
    if len(fields) < 40:
        return {"unreadable": "\n".join(lines)}
    # Numbered from 3 in proc_pid_stat(5): the state is fields[0].
    return {
        "pgrp-is-self": str(fields[2] == lines[0].split()[0]),
        "session-is-self": str(fields[3] == lines[0].split()[0]),
        "has-tty": str(fields[4] != "0"),
        "nice": fields[16],
        "rt_priority": fields[37],
        "policy": fields[38],
    }


def _whole(lines: list[str]) -> Facts:
    return {"lines": "\n".join(lines)}


def _keyed_lines(lines: list[str]) -> Facts:
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


READERS = {
    "status": _status,
    "mountinfo": _mountinfo,
    "environ": _environ,
    "cwd": _whole,
    "limits": _limits,
    "cmdline": _whole,
    "exe": _whole,
    "fds": _fds,
    "uts": _whole,
    "cgroup": _whole,
    "files": _first_word,
    "stat": _stat,
    "ionice": _whole,
    "dev": _keyed_lines,
    "links": _keyed_lines,
    "dirs": _keyed_lines,
    "lo": _whole,
    "masked": _keyed_lines,
    "readonly": _keyed_lines,
    "write": _keyed_lines,
}
