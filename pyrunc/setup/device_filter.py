"""The program that says which devices a container may use, attached to its cgroup by a host agent (bpf(2)).

Import cost: that of machine.session; cgroups.bpf where there is a program.
"""

import posix

from pyrunc.errors import SETUP
from pyrunc.machine.ops import Fd, Program
from pyrunc.machine.session import Agent, above
from pyrunc.setup.failures import step_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups import Manager
    from pyrunc.plan.facts import Facts


def restrict(facts: "Facts", manager: "Manager", program: bytes) -> None:
    """Have the agent attach the program before it makes the init; facts.cgroup is the group's descriptor."""
    from pyrunc.cgroups import bpf

    cgroup = facts.cgroup
    assert cgroup is not None
    # A container around us may forbid bpf(2); v1's device controller, not ours, rules there anyway.
    optional = manager.host.mode != "unified"
    facts.before_clone = lambda steps: bpf.attach(steps, program, cgroup, optional=optional)


def restrict_existing(manager: "Manager", program: bytes, lowest: int) -> None:
    """Attach the program to a cgroup that came into being with its first process, by an agent of its own.

    lowest: of the agent's descriptors. Raises Error.
    """
    from pyrunc.cgroups import bpf

    directory = above(manager.leaf(), lowest)
    try:
        with Agent(lowest, (directory,)) as session:
            steps = Program()
            bpf.attach(steps, program, Fd(directory, "cgroup"), optional=manager.host.mode != "unified")
            steps.sync("done")
            step_errors.check(session.run(steps), SETUP)
    finally:
        posix.close(directory)
