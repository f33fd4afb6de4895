"""A root file system that poses as pyrunc's own: modules, libraries, helpers; and errors that tell too much."""

import os
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MODULES = ("warnings", "traceback", "linecache", "_colorize", "encodings/__init__", "encodings/idna", "os", "re",
           "site", "sitecustomize", "pyrunc/__init__", "pyrunc/cli", "pyrunc/container/create")  # fmt: skip
LIBRARIES = ("libnss_files.so.2", "libgcc_s.so.1", "libseccomp.so.2", "libc.so.6", "libpython3.11.so.1.0")


def _poison(root: Path, here: Path) -> list[Path]:
    """Put FIFOs in all places where an interpreter or a C library would look: opening one would wait for ever."""
    made = []
    own = str(Path(__file__).resolve().parents[2])[1:]
    for base in ("usr/lib/python3.11", "usr/lib/python3.13", "usr/lib/python3/dist-packages", own):
        made += [root / base / f"{name}.py" for name in MODULES]
    made += [root / base / name for base in ("lib/x86_64-linux-gnu", "usr/lib", "lib") for name in LIBRARIES]
    made += [root / name for name in ("etc/localtime", "etc/nsswitch.conf", "etc/ld.so.preload", "etc/ld.so.cache")]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    for name in ("newuidmap", "newgidmap", "criu", "python3", "env"):
        path = root / "usr/bin" / name
        path.unlink(missing_ok=True)
        path.write_text("#!/bin/sh\ntouch /ran\n")
        path.chmod(0o755)
    return made


@pytest.fixture
def poisoned(bundle: MakeBundle, tmp_path: Path) -> Bundle:
    it = bundle()
    _poison(it.rootfs, tmp_path)
    return it


@pytest.mark.contains("CVE-2019-14271, GHSA-x86f-5xw2-fm2r: modules and helpers of the container's root", "1 above")
@pytest.mark.parametrize(
    "changes",
    [
        {"process": {"args": ["/bin/true"]}},
        {"process": {"args": ["/no/such"]}},
        {"process": {"args": ["true"], "cwd": "/etc/passwd"}},
        {"process": {"args": ["true"], "user": {"uid": 4711}}},
        {"hooks": {"startContainer": [{"path": "/bin/false"}]}},
        {"hooks": {"createContainer": [{"path": "/bin/false"}]}},
        {"mounts": [{"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=bad"]}]},
    ],
    ids=["good", "program", "cwd", "user", "hook-start", "hook-create", "mount"],
)
def test_import_canary_of_run(runtime: Runtime, poisoned: Bundle, changes: dict[str, object]) -> None:
    """Every way to fail ends, and none has touched what the image put in the way."""
    poisoned.update(changes)
    done = runtime.run(poisoned, timeout=20)
    assert (done.returncode == 0) == (not done.stderr)
    assert "Traceback" not in done.stderr
    assert not (poisoned.rootfs / "ran").exists()


@pytest.mark.contains("CVE-2019-14271, GHSA-x86f-5xw2-fm2r: modules and helpers of the container's root")
def test_import_canary_of_exec(runtime: Runtime, poisoned: Bundle) -> None:
    id = runtime.create(poisoned.args("/bin/sleep", "100"))
    runtime.call("start", id, check=True)
    for words in (["true"], ["/no/such"], ["--user", "nosuch", "ID", "true"], ["--cwd", "/no", "ID", "true"]):
        line = [id if word == "ID" else word for word in words] if "ID" in words else [id, *words]
        done = runtime.call("exec", *line, timeout=20)
        assert (done.returncode == 0) == (words == ["true"])
        assert "Traceback" not in done.stderr
    runtime.call("delete", "--force", id, check=True, timeout=20)
    assert not (poisoned.rootfs / "ran").exists()


@pytest.mark.contains(
    "secrets of the environment in errors",
    "values are not part of any message, nor of `pyrunc plan`",
)
@pytest.mark.parametrize(
    "changes",
    [
        {"process": {"args": ["/no/such"]}},
        {"process": {"cwd": "/etc/passwd"}},
        {"hooks": {"createRuntime": [{"path": "/bin/false", "env": ["TOKEN=hunter2"]}]}},
        {"hooks": {"startContainer": [{"path": "/bin/false", "env": ["TOKEN=hunter2"]}]}},
        {"process": {"env": ["hunter2"]}},
        {"process": {"env": ["=hunter2"]}},
        {"process": {"env": ["A=hunter2\0"]}},
        {"process": {"env": [["hunter2"]]}},
    ],
)
def test_values_of_the_environment_are_told_to_nobody(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Secrets are passed in the environment: errors, logs and plans do not show its values."""
    it = bundle({"process": {"env": ["PATH=/bin", "TOKEN=hunter2"]}}).update(changes)
    log = tmp_path / "log"
    runtime.flags = ["--debug", "--log", str(log)]
    done = runtime.run(it)
    plan = [runtime.call("plan", "--format", form, str(it.path)) for form in ("text", "json")]
    runtime.flags = []
    # What has no name in front of it is not a value.
    if changes != {"process": {"env": ["hunter2"]}}:
        for text in (done.stdout, done.stderr, log.read_text(), *(p.stdout + p.stderr for p in plan)):
            assert "hunter2" not in text


@pytest.mark.contains(
    "a state directory that others own or may write to, links in it",
    "refused; files are opened without following links",
)
@pytest.mark.parametrize("mode", [0o777, 0o772])
def test_state_directory_that_others_can_write_to(runtime: Runtime, bundle: MakeBundle, mode: int) -> None:
    runtime.root.mkdir()
    runtime.root.chmod(mode)
    assert "can be written by others" in runtime.run(bundle()).stderr
    assert list(runtime.root.iterdir()) == []


@pytest.mark.contains("a state directory that others own or may write to, links in it")
def test_shared_state_directory(runtime: Runtime, bundle: MakeBundle) -> None:
    """With the sticky bit nobody else can exchange root's entries; what others have put there is nothing of root's."""
    runtime.root.mkdir()
    runtime.root.chmod(0o1777)
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    state = (runtime.root / id / "state.json").read_text()
    foreign = runtime.root / "foreign"
    foreign.mkdir()
    (foreign / "state.json").write_text(state.replace(id, "foreign"))
    for path in (foreign, foreign / "state.json"):
        os.chown(path, 1000, 1000)
    assert [line.split()[0] for line in runtime.call("list", check=True).stdout.splitlines()[1:]] == [id]
    for words in (["state", "foreign"], ["kill", "foreign", "KILL"], ["start", "foreign"], ["exec", "foreign", "true"]):
        done = runtime.call(*words)
        assert done.returncode
        assert "container does not exist" in done.stderr
    assert "belongs to uid 1000, not to 0" in runtime.call("delete", "--force", "foreign").stderr
    assert (foreign / "state.json").exists()
    done = runtime.run(bundle(), id="foreign")
    assert f"{foreign} belongs to uid 1000, not to 0" in done.stderr
    assert runtime.state(id)["status"] == "created"
    runtime.call("start", id, check=True)
    assert runtime.state(id)["status"] == "running"


@pytest.mark.contains("a state directory that others own or may write to, links in it")
def test_state_directory_of_someone_else(runtime: Runtime, bundle: MakeBundle) -> None:
    runtime.root.mkdir(mode=0o700)
    os.chown(runtime.root, 1000, 1000)
    assert "belongs to uid 1000" in runtime.run(bundle()).stderr
    assert list(runtime.root.iterdir()) == []


@pytest.mark.contains("a state directory that others own or may write to, links in it")
def test_links_in_the_state_directory(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """A state file that is a link is not followed, neither to read nor to write."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "state.json").write_text("{}")
    runtime.root.mkdir(mode=0o700)
    (runtime.root / "linked").symlink_to(canary)
    for words in (["state"], ["delete", "--force"], ["kill"], ["create", "--bundle", str(bundle().path)]):
        runtime.call(*words, "linked")
    assert [path.name for path in canary.iterdir()] == ["state.json"]
    assert (canary / "state.json").read_text() == "{}"
