"""`pyrunc help TOPIC`: topics that are no commands."""

import pytest

from pyrunc import cli
from pyrunc.config.reference import members
from pyrunc.topics import TOPICS


def test_members_of_every_depth_are_described() -> None:
    paths = {it.path for it in members()}
    assert {"process.user.additionalGids", "mounts[].options", "annotations"} <= paths
    assert {"linux.seccomp.syscalls[].args[].valueTwo", "hooks.poststop[].path"} <= paths
    assert not any(path.startswith(("windows", "vm")) for path in paths)
    assert all(it.description and it.section and it.type for it in members())


@pytest.mark.parametrize("prefix", ["linux.resources.memory", "/linux/resources/memory"])
def test_a_part_of_the_configuration(prefix: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "config", prefix]) == 0
    out = capfd.readouterr().out
    assert "linux.resources.memory.limit  (integer)\n    Bytes of memory.\n    config-linux.md#" in out
    assert "linux.resources.cpu" not in out


def test_entries_of_arrays_may_be_numbered() -> None:
    assert [it.path for it in members("/mounts/3/options")] == ["mounts[].options"]


def test_no_such_member(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "config", "linux.nope"]) == 1
    assert "config.json has no member linux.nope" in capfd.readouterr().err


def test_topics_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    out = capfd.readouterr().out
    for name in TOPICS:
        assert f"\n   {name}" in out
    assert not set(TOPICS) & set(cli.COMMANDS)
