"""The script and the embedded form of pyrunc do the same."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build_embedded
import build_parts
import executable
from support import ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.host

FORMS = ("script", "embedded")


def build_or_skip(output: Path, site: str) -> None:
    try:
        build_embedded.build(output, site=site)
    except build_embedded.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both forms of this checkout."""
    directory = tmp_path_factory.mktemp("forms")
    script, embedded = directory / "script/pyrunc", directory / "embedded/pyrunc"
    build_parts.write_launcher(script, ROOT)
    build_or_skip(embedded, site=str(ROOT))
    return {"script": str(script), "embedded": str(embedded)}


@pytest.fixture
def forms(programs: dict[str, str], root_dir: Path) -> dict[str, Runtime]:
    return {name: Runtime(programs[name], root_dir / name) for name in FORMS}


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("--help",),
        ("create", "--help"),
        ("features",),
        ("nonsense",),
        ("state",),
        ("state", "nope"),
        ("kill", "nope"),
        ("delete", "nope"),
        ("start", "nope"),
        ("exec", "nope", "true"),
        ("--log-format", "json", "run", "--bundle", "/nowhere", "a"),
        ("list", "-f", "json"),
    ],
    ids=" ".join,
)
def test_the_same_is_printed(words: tuple[str, ...], forms: dict[str, Runtime]) -> None:
    answers = []
    for name, runtime in forms.items():
        runtime.root.mkdir(exist_ok=True)
        done = runtime.call(*words)
        errors = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "NOW", done.stderr)
        output = re.sub("^form: .*", "form: FORM", done.stdout, flags=re.MULTILINE)
        answers.append((done.returncode, output, errors.replace(f"/{name}", "/FORM")))
    assert answers[0] == answers[1]


def test_the_same_plan(forms: dict[str, Runtime], bundle: MakeBundle) -> None:
    path = str(bundle().path)
    script, embedded = (runtime.call("plan", path, check=True) for runtime in forms.values())
    assert script.stdout == embedded.stdout
    assert "mount" in script.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": 7},  # explained by jsonschema
        {"linux": {"sysctl": {"kernel.nonsense": "1"}}},
        {"process": {"cwd": "relative"}},
        {"mounts": [{"destination": "/x", "type": "nonsense", "source": "x"}]},
    ],
    ids=["schema", "sysctl", "cwd", "mount"],
)
def test_the_same_refusal(change: dict[str, object], forms: dict[str, Runtime], bundle: MakeBundle) -> None:
    path = bundle(change)
    answers = []
    for runtime in forms.values():
        done = runtime.call("--log-format", "json", "run", "--bundle", str(path.path), "a")
        assert done.returncode == 1
        # A hint may follow as plain text.
        line = json.loads(done.stderr.splitlines()[0])
        answers.append((line.get("msg"), line.get("pointer"), done.stdout))
    assert answers[0] == answers[1]
    assert answers[0][0]


def test_text_that_is_not_json(forms: dict[str, Runtime], bundle: MakeBundle) -> None:
    path = bundle().path
    (path / "config.json").write_text('{"ociVersion": "1.3.0", "ociVersion": "1.3.0"}')
    first, second = (
        runtime.call("--log-format", "json", "run", "--bundle", str(path), "a").stderr for runtime in forms.values()
    )
    assert json.loads(first)["msg"] == json.loads(second)["msg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("form", FORMS)
def test_a_life(form: str, forms: dict[str, Runtime], bundle: MakeBundle) -> None:
    runtime = forms[form]
    it: Bundle = bundle()
    try:
        done = runtime.run(it.shell("echo from inside; exit 5"))
        assert (done.returncode, done.stdout) == (5, "from inside\n"), done.stderr
        id = runtime.create(it.args("/bin/sleep", "100"))
        assert runtime.state(id)["status"] == "created"
        runtime.call("start", id, check=True)
        done = runtime.call("exec", id, "/bin/sh", "-c", "echo executed; exit 3")
        assert (done.returncode, done.stdout) == (3, "executed\n"), done.stderr
        runtime.call("kill", id, "KILL", check=True)
        runtime.call("delete", "--force", id, check=True)
        assert runtime.call("state", id).returncode == 1
    finally:
        runtime.clean()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_life_of_a_lonely_executable(root_dir: Path, bundle: MakeBundle, tmp_path: Path) -> None:
    """The hot commands need nothing beside the executable, wherever it has been copied to."""
    program = tmp_path / "bin/copy"
    build_or_skip(program, site=str(tmp_path / "nowhere"))
    runtime = Runtime(str(program), root_dir / "lonely")
    try:
        done = runtime.run(bundle().shell("echo from inside; exit 5"))
        assert (done.returncode, done.stdout) == (5, "from inside\n"), done.stderr
    finally:
        runtime.clean()


def hidden(script: str) -> list[str]:
    """A shell script that runs where no Python of the machine's is to be seen."""
    directories = {os.path.dirname(os.__file__), os.path.dirname(build_parts.base_interpreter()) + "/../lib/python3"}
    binds = "".join(f"mount -t tmpfs none {path}; " for path in sorted(directories) if os.path.isdir(path))
    return ["unshare", "-m", "--propagation", "private", "sh", "-euc", binds + script]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_life_and_rescue_need_no_file_of_python(root_dir: Path, bundle: MakeBundle, tmp_path: Path) -> None:
    """A machine whose Python has gone, as in an upgrade of the distribution, with containers that run."""
    program = tmp_path / "bin/copy"
    build_or_skip(program, site=str(tmp_path / "nowhere"))
    it = bundle({"process": {"args": ["/bin/sleep", "100"]}})
    a, b = Runtime(str(program), root_dir / "lonely").new_id(), "never"
    py = f"{program} --root {root_dir}/lonely"
    # Not in the shell's output: the container would hold a pipe open.
    script = f"""
        exec </dev/null
        {py} create --bundle {it.path} {a} >/dev/null 2>&1
        {py} start {a}; {py} state {a} >/dev/null; {py} list -q; {py} list >/dev/null
        {py} exec {a} /bin/true; {py} ps {a} >/dev/null; {py} ps -f json {a} >/dev/null
        {py} update --pids-limit 100 {a} 2>/dev/null || :; {py} --version >/dev/null
        {py} pause {a} 2>/dev/null || echo no freezer; {py} resume {a} 2>/dev/null || :
        {py} kill {a} KILL; {py} delete --force {a}
        {py} checkpoint {b} || echo $?
        {py} plan {it.path}/nowhere || echo $?
        {py} features || echo $?
    """
    done = subprocess.run(hidden(script), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == a
    lines = done.stderr.splitlines()
    assert any("is not there: install Python" in line for line in lines)
    assert not any("Traceback" in line or "internal error" in line for line in lines), done.stderr


def test_what_commands_use_lies_together(programs: dict[str, str]) -> None:
    """Fewer pages are written to, and copied: what was watched, what may be called, and the rest have places of their
    own, in this order (embedded/heap.h)."""
    elf = executable.Elf(Path(programs["embedded"]).read_bytes())
    hot, warm, cold = (load.size for load in elf.loads if load.address in (0x10000000, 0x11000000, 0x12000000))
    assert 100_000 < hot < 2_000_000
    assert 100_000 < warm < 2_000_000
    assert cold > hot + warm


def test_it_can_be_built_where_addresses_are_not_random(tmp_path: Path) -> None:
    """Two stages have the same addresses of the kernel's then: nothing that is saved may lie there."""
    output = tmp_path / "pyrunc"
    words = [sys.executable, str(ROOT / "tools/build_embedded.py"), str(output), "--site", str(ROOT)]
    if shutil.which("setarch") is None:
        pytest.skip("no setarch")
    environment = {**os.environ, "PYRUNC_FORM": "embedded"}
    done = subprocess.run(["setarch", "-R", *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([output, "--version"], capture_output=True, check=False).returncode == 0
