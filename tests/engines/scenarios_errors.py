"""What an engine says when a container cannot be made; images that it builds."""

import os
import tempfile

from engines.scenarios import EVERY, IMAGE, Engine, expect, scenario

# --- errors ----------------------------------------------------------------------------------


def failing(e: Engine, status: int, text: str, *words: str, flags: tuple[str, ...] = ()) -> None:
    """A run that has to fail with a status and a text."""
    answer = e.run(*words, flags=flags, status=status)
    expect(text in (answer.out + answer.err).lower(), f"without {text!r}: {answer}")


@scenario(*EVERY)
def error_missing_command(e: Engine) -> None:
    failing(e, 127, "executable file not found in $path", "no-such-command")


@scenario(*EVERY)
def error_missing_file(e: Engine) -> None:
    failing(e, 127, "no such file or directory", "/no/such/file")


@scenario(*EVERY)
def error_not_executable(e: Engine) -> None:
    failing(e, 126, "permission denied", "/etc/passwd")


@scenario(*EVERY)
def error_directory(e: Engine) -> None:
    answer = e.run("/tmp", status=126)
    text = answer.err.lower()
    expect("is a directory" in text or "permission denied" in text, answer)


@scenario(*EVERY)
def error_bad_interpreter(e: Engine) -> None:
    answer = e.run("/bin/bad-interpreter", status=None)
    expect(answer.status not in (0, 125), answer)


@scenario(*EVERY)
def error_missing_user(e: Engine) -> None:
    answer = e.run("/bin/true", flags=["--user", "nobody-here"], status=None)
    expect(answer.status in (125, 126), answer)


@scenario(*EVERY)
def error_mount_source(e: Engine) -> None:
    flags = ["--mount", "type=bind,source=/no/such/source,target=/v"]
    answer = e.run("/bin/true", flags=flags, status=None)
    expect(answer.status in (125, 126), answer)


@scenario(*EVERY)
def error_mount_target(e: Engine) -> None:
    answer = e.run("/bin/true", flags=["-v", "/tmp:/etc/passwd"], status=None)
    expect(answer.status in (125, 126, 127) and "directory" in answer.err.lower(), answer)


@scenario(*EVERY)
def error_leaves_nothing(e: Engine) -> None:
    before = set(e.call("ps", "-aq").out.split())
    e.run("no-such-command", status=127)
    expect(set(e.call("ps", "-aq").out.split()) == before, "a failed container is left")


# --- building --------------------------------------------------------------------------------


@scenario("podman", "podman-rootless")
def build(e: Engine) -> None:
    _build(e, "--isolation", "oci", "--network", "none")


@scenario("docker")
def build_docker(e: Engine) -> None:
    # The classic builder takes the default runtime; BuildKit calls runc by its name.
    os.environ["DOCKER_BUILDKIT"] = "0"
    _build(e, "--network", "none")


def _build(e: Engine, *flags: str) -> None:
    tag = f"localhost/built-{e.runtime}:latest"
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o755)
        with open(f"{where}/Dockerfile", "w") as file:
            file.write(f"FROM {IMAGE}\nRUN echo built > /built && id -u >> /built\nUSER 1000\n")
        e.call("build", *flags, "-t", tag, where, timeout=300)
    try:
        expect(e.shell("cat /built; id -u", image=tag) == "built\n0\n1000\n", "what was built")
    finally:
        e.call("rmi", "-f", tag)
