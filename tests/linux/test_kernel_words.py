"""Where the kernel says why it refuses a mount, the error says it too."""

import json

import pytest

from pyrunc.setup.failures.kernel_words import harmless
from support import DEFAULT_CONFIG, MakeBundle, Runtime


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize(
    ("kind", "option", "said", "hint"),
    [
        ("tmpfs", "sizee=1m", "(the kernel says: tmpfs: Unknown parameter 'sizee')", 'did you mean "size"?'),
        ("tmpfs", "size=lots", "(the kernel says: tmpfs: Bad value for 'size')", None),
        ("tmpfs", "a\x1b[2Jb=1", "(the kernel says: tmpfs: Unknown parameter 'a\\x1b[2Jb')", None),
        ("proc", "hidepid=9", "(the kernel says: proc: unknown value of hidepid - 9)", None),
    ],
)
def test_of_a_file_system(
    kind: str, option: str, said: str, hint: str | None, bundle: MakeBundle, runtime: Runtime
) -> None:
    mounts = [*DEFAULT_CONFIG["mounts"], {"destination": "/mnt", "type": kind, "source": kind, "options": [option]}]
    made = bundle({"mounts": mounts})
    done = runtime.call("--log-format", "json", "run", "--bundle", str(made.path), "words")
    assert done.returncode == 1
    error = json.loads(done.stderr)
    assert error["msg"].endswith(f": invalid argument {said}")
    assert error["pointer"] == "/mounts/6"
    assert error["syscall"] == "fsconfig"
    assert error.get("hint") == hint


def test_of_untrusted_text() -> None:
    assert harmless(b"x\n\xff\x1b") == "x\\x0a\\xff\\x1b"
    assert len(harmless(b"y" * 255)) == 200
