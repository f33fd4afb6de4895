"""critest with runc as the control, and with pyrunc.

    critest [--machine uml|qemu] [--focus REGEXP] [--skip REGEXP]

Every spec that passes with the control has to pass with pyrunc, or the status is 1; what fails is run once more with
both. critest pulls its images by names of registries on the internet; here containerd finds all of them in a registry
of the guest, filled with images made of busybox and of a program that stands in for web servers (cri/standin).
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from engines import setups
from engines.leftovers import leftovers
from engines.scenarios import command, until

REGISTRY = "127.0.0.1:5005"
PASSED = "passed"
NOTHING = "nothing is left behind"

# Specs that say nothing about the runtime below containerd, each with the reason.
LEFT_OUT = {
    r"\] Image ": "about pulling, listing and removing images",
    r"\] NRI ": "containerd's plugins",
    r"support MaskedPaths": "masks /bin/ls; Debian's busybox shell needs no such file for ls",
}
# Those that User-mode Linux cannot run with any runtime.
NOT_UML = {
    r"port mapping with host port": "the portmap plugin needs the packet filter",
}

# Specs that containerd decides by a race, which are run some times more.
RACES = {
    # The shim looks for OOM kills only when `start` has returned. runc returns before the execve, pyrunc after it, to
    # say whether it worked: of a program that is killed within milliseconds, on one processor, a third goes unnoticed.
    r"reason OOMKilled$",
}

# Applets that Debian's busybox lacks, and one whose kernel part User-mode Linux lacks: the spec asks only whether
# CAP_NET_ADMIN works.
SCRIPTS = {
    "pgrep": '#!/bin/sh\nexec pidof "$1"\n',
    "ipcs": "#!/bin/sh\nexec cat /proc/sysvipc/shm\n",
    "brctl": "#!/bin/sh\nexec ip link set lo mtu 1400\n",
}
PASSWD = "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\nnobody:x:65534:\n"

# The repositories' paths, and what is in their configuration.
IMAGES = {
    "e2e-test-images/busybox:1.29-2": ['CMD ["sh"]'],
    "e2e-test-images/nginx:1.14-2": ['CMD ["/usr/sbin/nginx","nginx","80"]'],
    "e2e-test-images/httpd:2.4.39-4": ['CMD ["/usr/sbin/httpd","httpd","80"]'],
    "e2e-test-images/nonewprivs:1.3": ['ENTRYPOINT ["/nnp","nnp"]'],
    "k8s-staging-cri-tools/hostnet-nginx-amd64:latest": ['CMD ["/usr/sbin/nginx","nginx","12003"]'],
    "pause:latest": ['ENTRYPOINT ["/pause","pause"]'],
    "k8s-staging-cri-tools/test-image-predefined-group:latest": ["USER 1000"],
}


def write_root(where: Path) -> None:
    """One root file system for all images. Applets are hard links: a masked one leaves the others."""
    with tarfile.open(where, "w") as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o755, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
            tar.addfile(info, io.BytesIO(data))

        for name in "bin dev etc proc root sys usr usr/sbin var var/run".split():
            add(name, tarfile.DIRTYPE)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        add("bin/busybox", data=Path("/usr/bin/busybox").read_bytes())
        for applet in command("/usr/bin/busybox", "--list").out.split():
            if applet not in {"busybox", *SCRIPTS}:
                add(f"bin/{applet}", tarfile.LNKTYPE, link="bin/busybox")
        for name, text in SCRIPTS.items():
            add(f"bin/{name}", data=text.encode())
        standin = Path("/usr/local/bin/critest-standin").read_bytes()
        add("usr/sbin/nginx", data=standin)
        add("usr/sbin/httpd", tarfile.LNKTYPE, link="usr/sbin/nginx")
        add("pause", data=standin)
        add("nnp", mode=0o4755, data=standin)
        add("etc/passwd", mode=0o644, data=PASSWD.encode())
        add("etc/group", mode=0o644, data=GROUP.encode())


def answers() -> bool:
    """Whether the registry does."""
    try:
        with urlopen(f"http://{REGISTRY}/v2/"):
            return True
    except OSError:
        return False


def start_registry() -> None:
    """A registry with all images, which containerd takes for any other."""
    config = setups.WORK / "registry.yml"
    storage = f"{{filesystem: {{rootdirectory: {setups.WORK}/registry}}}}"
    config.write_text(f"version: 0.1\nstorage: {storage}\nhttp: {{addr: {REGISTRY}}}\n")
    command("systemd-run", "--quiet", "--unit", "critest-registry", "docker-registry", "serve", str(config))
    until(answers, "the registry answers")
    root = setups.WORK / "critest.tar"
    write_root(root)
    path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    for name, changes in IMAGES.items():
        words = [word for change in (path, *changes) for word in ("-c", change)]
        command("podman", "import", "-q", *words, str(root), f"{REGISTRY}/{name}")
        command("podman", "push", "-q", "--tls-verify=false", f"{REGISTRY}/{name}")
    hosts = Path("/etc/containerd/certs.d/_default")
    hosts.mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n')
    # Not setups' own, which is called sleep: pods here share their process namespace, and a spec looks for sleep in it.
    config = Path("/etc/containerd/config.toml")
    config.write_text(config.read_text().replace(setups.PAUSE, f"{REGISTRY}/pause:latest"))
    images = "io.containerd.cri.v1.images" if "version = 3" in config.read_text() else "io.containerd.grpc.v1.cri"
    with config.open("a") as file:
        file.write(f"\n[plugins.'{images}'.registry]\n  config_path = '/etc/containerd/certs.d'\n")
    command("systemctl", "restart", "containerd")
    until(lambda: command("ctr", "version", status=None).status == 0, "containerd answers")


@dataclass(frozen=True)
class Result:
    """One spec under one runtime."""

    status: str  # as in the report: passed, failed, skipped, panicked, interrupted, timedout
    detail: str = ""
    seconds: float = 0.0


def read_report(text: str) -> dict[str, Result]:
    """The specs of a JUnit report; the suite's own steps, which have no name of a spec, only if they failed."""
    found: dict[str, Result] = {}
    for case in ET.fromstring(text).iter("testcase"):
        name, status = case.get("name", ""), case.get("status", "")
        if name.startswith("[It] "):
            name = name.removeprefix("[It] ")
        elif status == PASSED:
            continue
        detail = "\n".join(
            f"{part.get('message') or ''}\n{part.text or ''}".strip()
            for kind in ("failure", "error", "skipped")
            for part in case.findall(kind)
        )
        if detail != "skipped":  # that is one which was not asked for; another has its reason
            found[name] = Result(status, detail, float(case.get("time", 0)))
    return found


def run(runtime: str, options: argparse.Namespace, focus: list[str]) -> dict[str, Result]:
    """Run the suite on a runtime, or of it what one of the expressions finds."""
    left_out = [*LEFT_OUT, *(NOT_UML if options.machine == "uml" else ()), *options.skip]
    with tempfile.TemporaryDirectory() as where:
        words = ["critest", f"-runtime-handler={runtime}", f"-ginkgo.junit-report={where}/r.xml", "-ginkgo.seed=1"]
        words += [f"-ginkgo.skip={expression}" for expression in left_out]
        words += [f"-ginkgo.focus={expression}" for expression in focus]
        begin = time.monotonic()
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
        reports = list(Path(where).glob("*.xml"))
        if not reports:
            raise SystemExit(f"critest with {runtime}: status {done.returncode}, no report\n{done.stdout[-4000:]}")
        found = read_report(reports[0].read_text())
    for name, result in found.items():
        print(f"{runtime:8} {result.status:8} {result.seconds:6.1f} s  {name}", flush=True)
    print(f"critest with {runtime}: {time.monotonic() - begin:.0f} s, status {done.returncode}", flush=True)
    left = leftovers(runtime)
    found[NOTHING] = Result("failed" if left else PASSED, left)
    return found


def known_race(name: str) -> bool:
    """Whether a spec is one of RACES."""
    return any(re.search(expression, name) for expression in RACES)


def judge(control: dict[str, Result], subject: dict[str, Result]) -> tuple[list[str], list[str], list[str]]:
    """The names of specs that fail with the subject only, that no runtime passes, and that pass with the subject."""
    bad = [n for n, r in control.items() if r.status == PASSED and subject.get(n, Result("missing")).status != PASSED]
    both = [n for n, r in control.items() if r.status != PASSED and subject.get(n, Result("missing")).status != PASSED]
    # What critest itself did (its own steps appear when they fail) is the subject's too.
    bad += [n for n, r in subject.items() if n not in control and r.status != PASSED]
    return bad, both, [n for n, r in subject.items() if r.status == PASSED]


def main() -> int:
    """Prepare containerd, run critest twice, compare."""
    parser = argparse.ArgumentParser(
        prog="tests/engines/critest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machine", choices=("uml", "qemu"), default="uml")
    parser.add_argument("--focus", action="append", default=[], metavar="REGEXP", help="may be given more than once")
    parser.add_argument("--skip", action="append", default=[], metavar="REGEXP", help="may be given more than once")
    parser.add_argument("--control", default="runc")
    parser.add_argument("--subject", default="pyrunc")
    options = parser.parse_args()
    if os.geteuid() or not shutil.which("critest"):
        raise SystemExit("critest: runs in the guest machine only")
    if os.path.exists("/usr/local/bin/containerd"):  # one that the caller gave
        command("systemctl", "stop", "docker.socket", "docker", "containerd", status=None)
        for name in ("containerd", "containerd-shim-runc-v2", "ctr"):
            shutil.copy(f"/usr/local/bin/{name}", f"/usr/bin/{name}")
    setups.prepare()
    setups.pause_image()
    setups.containerd("cgroupfs", options.machine)  # critest's pods are in no slice
    start_registry()
    control, subject = (run(runtime, options, options.focus) for runtime in (options.control, options.subject))
    bad, both, good = judge(control, subject)
    for number in range(4):
        again = [name for name in bad if name in control and name != NOTHING and (not number or known_race(name))]
        if not again:
            break
        for runtime, found in ((options.control, control), (options.subject, subject)):
            found |= run(runtime, options, [re.escape(name) for name in again])
        bad, both, good = judge(control, subject)
    for name in both:
        print(f"{control[name].status} with both: {name}\n    {control[name].detail.strip()[:600]}")
    for name in bad:
        print(f"FAIL with {options.subject} only: {name}\n    {subject.get(name, Result('missing')).detail}")
    print(f"== critest: {len(good)} specs pass with {options.subject}, {len(bad)} FAIL with it only")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
