"""What runs inside the container, and what is read out of its report.

The probe is one busybox shell: it reads its own /proc entries, so what it prints is what execve
left behind. It reads its status without a child: while it makes one, its signals are blocked. Children
are few, as they are what takes time, above all under User-mode Linux.
"""

import re
from collections.abc import Iterator

SCRIPT = r"""
s() { echo "@@ $1"; }
p=/proc/$$
s status; while read -r l; do echo "$l"; done < $p/status
s mountinfo; cat $p/mountinfo
s environ; tr '\n\0' '\001\n' < $p/environ
s limits; cat $p/limits
s cmdline; tr '\0' '\n' < $p/cmdline | head -n 2
s own; ls -l $p/cwd $p/exe $p/fd/* $p/ns/*
s uts; uname -m
for f in hostname domainname; do read -r l < /proc/sys/kernel/$f; echo "$l"; done
s cgroup; cat $p/cgroup
s files; set --; for f in oom_score_adj personality timens_offsets uid_map gid_map setgroups \
    coredump_filter; do test -e $p/$f && set -- "$@" $p/$f; done; grep -H '' "$@" 2>&1
s stat; read -r l < $p/stat; echo "$l"
s ionice; ionice -p $$
s dev; find /dev ! -type d ! -path '/dev/pts/[0-9]*' -exec stat -c '%n %F %a %t:%T %u:%g@%N' {} +
s dirs; stat -c '%n %F %a %u:%g' / /dev /dev/pts /dev/shm /dev/mqueue /proc /sys /sys/fs/cgroup 2>/dev/null
s lo; read -r l < /sys/class/net/lo/flags && echo "$l"; for n in /sys/class/net/*; do echo "${n##*/}"; done
s masked; stat -c '%n %F %t:%T' /proc/kcore /proc/keys /proc/timer_list 2>/dev/null
s sizes; for f in /proc/kcore /proc/keys /proc/timer_list; do
    test -e $f && { echo "$f $(head -c 40 $f 2>/dev/null | wc -c)"; }; done
for d in /proc/scsi /sys/firmware /proc/acpi; do
    test -e $d && { set -- $d/*; test -e "$1" || set --; echo "$d $#"; }; done
s readonly; for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do
    { true >> $f; } 2>/dev/null && echo "$f writable" || echo "$f refused"; done
s write; for d in / /dev /tmp /proc /sys; do
    { true > $d/.w; } 2>/dev/null && { rm -f $d/.w; echo "$d writable"; } || echo "$d refused"; done
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
    for path, link in _links(report.get("own", [])):
        folder, _, name = re.sub(r"^/proc/\d+/", "", path).rpartition("/")
        if folder == "ns":
            result[f"ns.{name}"] = "host" if host_namespaces.get(name) == link else "own"
        elif folder == "fd":
            result[f"fds.{name}"] = re.sub(r":\[\d+\]", ":[]", link)
        else:
            result[name] = link
    return result


def _links(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Path and target of what `ls -l` lists; a target that may not be read is empty."""
    for line in lines:
        match = re.match(r"l[rwx-]{9} .*? (/\S+)(?: -> (.*))?$", line)
        if match:
            yield match[1], match[2] or ""


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


def _files(lines: list[str]) -> Facts:
    """What `grep -H` prints: the path, a colon, the line; words are compared, not how they are aligned."""
    result: Facts = {}
    for line in lines:
        match = re.match(r"(?:grep: )?/proc/\d+/(\w+): ?(.*)", line)
        if match:
            result[match[1]] = " ".join([*result.get(match[1], "").split(), *match[2].split()])
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


def _dev(lines: list[str]) -> Facts:
    """Behind the @ `stat` repeats the name, and says where a link leads."""
    result: Facts = {}
    for line in lines:
        left, _, right = line.rpartition("@")
        name, _, what = left.partition(" ")
        result[name] = what + right.partition(" -> ")[1] + right.partition(" -> ")[2]
    return result


READERS = {
    "status": _status,
    "mountinfo": _mountinfo,
    "environ": _environ,
    "limits": _limits,
    "cmdline": _whole,
    "uts": _whole,
    "cgroup": _whole,
    "files": _files,
    "stat": _stat,
    "ionice": _whole,
    "dev": _dev,
    "dirs": _keyed_lines,
    "lo": _whole,
    "masked": _keyed_lines,
    "sizes": _keyed_lines,
    "readonly": _keyed_lines,
    "write": _keyed_lines,
}
