"""The life of a container, call by call: interleaved rounds, so that what else the machine does hits all alike."""

import os
import random

from benchmark.bundles import bundle
from benchmark.measure import Failed, Sample, instructions
from benchmark.runtimes import Runtime, wait_ended

OPERATIONS = ("run", "create", "state", "start", "exec", "kill", "delete")
#: What an engine calls.
SEQUENCE = ("create", "start", "state", "kill", "delete")

#: By runtime and operation; "sequence" is the sum of SEQUENCE in each round.
Samples = dict[str, dict[str, list[Sample]]]


class Life:
    """Containers of one shape, by one runtime."""

    def __init__(self, runtime: Runtime, shape: str) -> None:
        self.runtime = runtime
        self.true = bundle(runtime.directory / f"{shape}-true", shape, "/bin/true").path
        self.sleep = bundle(runtime.directory / f"{shape}-sleep", shape, "/bin/sleep", "1000").path
        self.pid_file = self.sleep / "pid"

    def round(self, id: str) -> dict[str, Sample]:
        """Each operation once; raises Failed."""
        call = self.runtime.call
        try:
            samples = {
                "run": call("run", "--bundle", str(self.true), f"{id}-run"),
                "create": call("create", "--bundle", str(self.sleep), "--pid-file", str(self.pid_file), id),
                "state": call("state", id),
                "start": call("start", id),
                "exec": call("exec", id, "/bin/true"),
                "kill": call("kill", id, "KILL"),
            }
            wait_ended(int(self.pid_file.read_text()))
            samples["delete"] = call("delete", id)
        except BaseException:
            for name in (id, f"{id}-run"):
                self.runtime.remove(name)
            raise
        parts = [samples[operation] for operation in SEQUENCE]
        samples["sequence"] = Sample(
            sum(part.cpu for part in parts),
            sum(part.wall for part in parts),
            max(part.peak for part in parts),
            sum(part.faults for part in parts),
        )
        return samples

    def count(self, id: str) -> dict[str, float]:
        """Millions of instructions, where valgrind can tell: it lacks the system calls of other operations."""
        command, env = self.runtime.command, self.runtime.env
        counted = {
            "run": instructions(command("run", "--bundle", str(self.true), f"{id}-run"), env),
            "create": instructions(command("create", "--bundle", str(self.sleep), id), env),
            "state": instructions(command("state", id), env),
        }
        for name in (id, f"{id}-run"):
            self.runtime.remove(name)
        return {operation: count for operation, count in counted.items() if count is not None}


def usable(runtime: Runtime) -> bool:
    """Whether the runtime can do one whole round here; the reason for no is printed."""
    try:
        Life(runtime, "plain").round(f"bench-try-{os.getpid()}-{runtime.name}")
    except (Failed, OSError) as error:
        print(f"{runtime.name} is left out: {error}")
        return False
    return True


def measure(runtimes: list[Runtime], shape: str, rounds: int) -> Samples:
    lives = [Life(runtime, shape) for runtime in runtimes]
    samples: Samples = {runtime.name: {} for runtime in runtimes}
    for number in range(rounds):
        # What one leaves to the kernel to clean up, the next pays for: in another order each time.
        for life in random.sample(lives, len(lives)):
            name = life.runtime.name
            for operation, sample in life.round(f"bench-{os.getpid()}-{number}-{name}").items():
                samples[name].setdefault(operation, []).append(sample)
    return samples


def count(runtimes: list[Runtime], shape: str) -> dict[str, dict[str, float]]:
    """Millions of instructions by runtime and operation."""
    return {
        runtime.name: Life(runtime, shape).count(f"bench-{os.getpid()}-count-{runtime.name}") for runtime in runtimes
    }


