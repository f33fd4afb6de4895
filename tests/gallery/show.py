"""What runtimes say to a mistake, and the page of them all.

python tests/gallery/show.py      writes docs/errors.md (as root, with runc and crun beside)
"""

import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gallery.mistakes import DROP, MISTAKES, Mistake, apply
from support import DEFAULT_CONFIG, ROOT, make_bundle, merge, unique_id

PAGE = ROOT / "docs/errors.md"
HEAD = """# A hundred mistakes, and what is said to them

Written by `python tests/gallery/show.py` from tests/gallery/mistakes.py;
`tests/gallery` holds that pyrunc still says it.
Each is a usual bundle with one mistake, and `run`, or the command that the title tells. Of a log
line the message is shown.
Without a hint the message names the element and what is wrong with it, or nothing more could be found out.
runc is {runc}, crun {crun}. What crun does not check ends in the container, or not at all.
"""


class Told:
    """What a runtime said: exit status, message, hint, pointer."""

    def __init__(self, status: int, message: str, hint: str = "", pointer: str = "") -> None:
        self.status = status
        self.message = message
        self.hint = hint
        self.pointer = pointer


def ask(mistake: Mistake, program: str, directory: Path) -> Told:
    """Make a mistake with a runtime. directory: has the bundle, or gets it."""
    bundle = directory / "bundle"
    if not bundle.exists():
        make_bundle(bundle)
    config = merge(copy.deepcopy(DEFAULT_CONFIG), {"ociVersion": "1.0.0"})
    apply(config, copy.deepcopy([it for it in mistake.edits if it[1] is not DROP]))
    apply(config, [it for it in mistake.edits if it[1] is DROP])
    text = mistake.text or json.dumps(config).replace("BUNDLE", str(bundle))
    (bundle / "config.json").write_text(text)
    id = unique_id("gallery")
    words = mistake.words or ["run", "--bundle", "BUNDLE", "ID"]
    words = [{"ID": id}.get(it, it).replace("BUNDLE", str(bundle)) for it in words]
    flags = [] if mistake.words[:1] and mistake.words[0].startswith("--") else ["--log-format", "json"]
    base = [program, "--root", str(directory / "state"), *flags]
    done = subprocess.run(
        [*base, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    if not done.returncode:
        subprocess.run([*base[:3], "delete", "--force", id], capture_output=True, check=False)
    return told(done.returncode, done.stderr, str(directory), id)


def told(status: int, output: str, directory: str, id: str) -> Told:
    """The message in what a runtime wrote to standard error, without names of this call."""
    message = hint = pointer = ""
    for line in output.strip().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {}
            found = re.match(r'time="[^"]*" level=(?:error|fatal) msg="(.*)"$', line)
            if found:
                entry = {"level": "error", "msg": found[1].replace('\\"', '"')}
            elif line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
            elif not message:
                message = line
        if isinstance(entry, dict) and (entry.get("level") in ("error", "fatal") or "level" not in entry):
            message = entry.get("msg", message)
            hint = entry.get("hint", hint)
            pointer = entry.get("pointer", pointer)
    return Told(status, neutral(message, directory, id), neutral(hint, directory, id), pointer)


def neutral(text: str, directory: str, id: str) -> str:
    """Without what differs from call to call: directories, ids, descriptors, times."""
    text = text.replace(directory, "/srv").replace(id, "web")
    text = re.sub(r"/proc/(self|thread-self|\d+)/fd/\d+", "/proc/self/fd/N", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", text)
    text = re.sub(r"/proc/\d+/", "/proc/PID/", text)
    return " ".join(text.split())


def cell(text: str) -> str:
    """Text in a cell of a table, as it is."""
    shown = text if len(text) <= 400 else text[:397] + "..."
    for letter in "\\`*_{}[]<>|#~":
        shown = shown.replace(letter, "\\" + letter if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter])
    return shown


def row(number: int, mistake: Mistake, ours: Told, others: "list[Told]") -> str:
    """A mistake's part of the page."""
    lines = [f"\n## {number}. {mistake.title}\n\n| | |\n|---|---|"]
    lines.append(f"| pyrunc | {cell(ours.message)} |")
    if ours.hint:
        lines.append(f"| hint | {cell(ours.hint)} |")
    for name, it in zip(("runc", "crun"), others, strict=False):
        said = it.message or "(nothing)"
        if "hybrid mode not supported" in said:
            said = "(not known: it refuses the cgroups of the machine where this was written before it looks)"
        lines.append(f"| {name} | {'accepts it' if not it.status else cell(said)} |")
    return "\n".join(lines) + "\n"


def version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[0].split()[-1]


def main() -> None:
    programs = [shutil.which("runc"), shutil.which("crun")]
    if None in programs:
        sys.exit("runc and crun have to be there")
    parts = [HEAD.format(runc=version(str(programs[0])), crun=version(str(programs[1])))]
    with tempfile.TemporaryDirectory() as directory:
        for number, mistake in enumerate(MISTAKES, 1):
            said = [ask(mistake, str(it), Path(directory)) for it in (ROOT / ".venv/bin/pyrunc", *programs)]
            parts.append(row(number, mistake, said[0], said[1:]))
    PAGE.write_text("".join(parts))


if __name__ == "__main__":
    main()
