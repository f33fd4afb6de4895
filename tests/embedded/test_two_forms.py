"""The script and the embedded form of pyrunc do the same."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import build_embedded
import build_parts
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
        answers.append((done.returncode, done.stdout, errors.replace(f"/{name}", "/FORM")))
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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_hot_commands_need_no_files_of_python(forms: dict[str, Runtime], bundle: MakeBundle, tmp_path: Path) -> None:
    """Everything they import is in the executable, or an extension module known by its path."""
    runtime = forms["embedded"]
    path = str(bundle({"process": {"args": ["/bin/sleep", "100"]}}).path)
    id = runtime.new_id()
    calls = [
        ["create", "--bundle", path, id],
        ["start", id],
        ["state", id],
        ["exec", id, "/bin/true"],
        ["kill", id, "KILL"],
        ["delete", "--force", id],
    ]
    try:
        for number, words in enumerate(calls):
            log = tmp_path / f"strace-{number}"
            # Not in its output: the container would hold a pipe open.
            with open(tmp_path / "output", "w+") as output:
                subprocess.run(
                    ["strace", "-e", "trace=file", "-o", log, *runtime.command(*words)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=60,
                )
            opened = [
                line
                for line in log.read_text().splitlines()
                if "/python3" in line and "/lib-dynload/_json." not in line
            ]
            assert not opened, words
    finally:
        runtime.clean()
