"""Cases that must fail, in the way that engines and users know from runc."""

from collections.abc import Callable
from typing import Any

from differential.diff_base import Config
from differential.diff_run import Bundle, Case

CASES: list[Case] = []


def fails(name: str, change: Callable[[Config], Any]) -> None:
    """A case that must fail after `change` to the configuration."""

    def edit(config: Config, bundle: Bundle) -> None:
        config["process"]["args"] = ["/bin/true"]
        change(config)

    CASES.append(Case(name, edit, "error"))


def args(*words: str) -> Callable[[Config], Any]:
    return lambda config: config["process"].update(args=list(words))


def process(**members: Any) -> Callable[[Config], Any]:
    return lambda config: config["process"].update(**members)


fails("command-not-in-path", args("no-such-command"))
fails("command-absolute-missing", args("/no/such/command"))
fails("command-relative-missing", args("./no/such/command"))
fails("command-not-executable", args("/etc/plain"))
fails("command-not-executable-in-path", process(args=["plain"], env=["PATH=/etc:/bin"]))
fails("command-is-folder", args("/tmp"))
fails("command-below-file", args("/etc/plain/below"))
fails("command-bad-interpreter", args("/bin/bad-interpreter"))
fails("command-garbage", args("/bin/garbage"))
fails("command-empty-string", args(""))
fails("args-empty", args())
fails("args-absent", lambda config: config["process"].pop("args"))
fails("process-absent", lambda config: config.pop("process"))
fails("root-absent", lambda config: config.pop("root"))
fails("root-missing", lambda config: config["root"].update(path="nowhere"))
fails("root-is-file", lambda config: config["root"].update(path="config.json"))
fails("cwd-relative", process(cwd="tmp"))
fails("cwd-empty", process(cwd=""))
fails("cwd-is-file", process(cwd="/etc/plain"))
fails("cwd-forbidden", process(cwd="/root/private", user={"uid": 1000, "gid": 1000}))
fails("oom-score-too-high", process(oomScoreAdj=1001))
fails("io-priority-class", process(ioPriority={"class": "IOPRIO_CLASS_BOGUS", "priority": 1}))
fails("scheduler-policy", process(scheduler={"policy": "SCHED_BOGUS"}))
fails("personality-domain", lambda config: config["linux"].update(personality={"domain": "BOGUS"}))
fails("user-negative", process(user={"uid": -1, "gid": 0}))
fails("user-too-large", process(user={"uid": 4294967296, "gid": 0}))
fails("apparmor-without-profile", process(apparmorProfile="no-such-profile"))
fails("masked-relative", lambda config: config["linux"].update(maskedPaths=["etc/plain"]))
fails("mount-relative-missing-type", lambda config: config["mounts"].append({"source": "x"}))


def _private(config: Config, bundle: Bundle) -> None:
    (bundle.rootfs / "root/private").mkdir(mode=0o700)
    (bundle.rootfs / "root").chmod(0o700)
    config["process"].update(cwd="/root/private", user={"uid": 1000, "gid": 1000}, capabilities={})
    config["process"]["args"] = ["/bin/true"]


CASES.append(Case("cwd-closed-folder", _private, "error"))


def _no_config(config: Config, bundle: Bundle) -> None:
    config.clear()


CASES.append(Case("config-empty", _no_config, "error"))
