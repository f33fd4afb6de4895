"""The life of a container with the docker-like engines: podman as root, podman without, and docker."""

import os
import tempfile
import threading

from engines.scenarios import EVERY, IMAGE, Counts, Engine, Failed, expect, scenario, until

# --- running ---------------------------------------------------------------------------------


@scenario(*EVERY)
def run_output(e: Engine) -> None:
    answer = e.run("/bin/sh", "-c", "echo out; echo err >&2")
    expect(answer.out == "out\n" and "err\n" in answer.err, answer)


@scenario(*EVERY)
def run_status(e: Engine) -> None:
    for status in (0, 1, 42, 126, 127, 255):
        e.run("/bin/sh", "-c", f"exit {status}", status=status)


@scenario(*EVERY)
def run_killed_by_signal(e: Engine) -> None:
    e.run("/bin/sh", "-c", "/bin/sh -c 'kill -9 $$'; exit $?", status=137)


@scenario(*EVERY)
def run_stdin(e: Engine) -> None:
    answer = e.run("/bin/cat", flags=["-i"], input="through standard input\n")
    expect(answer.out == "through standard input\n", answer)


@scenario(*EVERY)
def run_large_output(e: Engine) -> None:
    expect(len(e.shell("head -c 1000000 /dev/zero | tr '\\0' x")) == 1000000, "bytes are missing")


@scenario(*EVERY)
def run_tty(e: Engine) -> None:
    script = "test -t 0 && test -t 1 && echo is-a-terminal; tty"
    answer = e.terminal("run", "--rm", "-t", *e.run_flags, IMAGE, "/bin/sh", "-c", script)
    expect("is-a-terminal" in answer.out and "/dev/pts/0" in answer.out, answer)


@scenario(*EVERY)
def logs(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo one; echo two >&2; sleep 60")
    until(lambda: "one" in e.call("logs", name).out, "the log has the line")
    answer = e.call("logs", name)
    expect("two" in answer.out + answer.err, answer)


@scenario(*EVERY)
def wait_for_status(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "sleep 1; exit 7")
    expect(e.call("wait", name).out.strip() == "7", "wait gives the status")
    expect(e.inspect(name)["State"]["ExitCode"] == 7, "inspect gives the status")


@scenario(*EVERY)
def create_start_attach(e: Engine) -> None:
    name = e.call("create", *e.run_flags, IMAGE, "/bin/echo", "attached").out.strip()
    e.kept.append(name)
    expect(e.call("start", "-a", name).out == "attached\n", "start -a shows the output")
    expect(e.call("start", "-a", name).out == "attached\n", "a stopped container starts again")


@scenario(*EVERY)
def restart(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo started; sleep 60")
    first = e.inspect(name)["State"]["Pid"]
    e.call("restart", "-t", "0", name)
    state = e.inspect(name)["State"]
    expect(state["Running"] and state["Pid"] not in (0, first), state)
    until(lambda: e.call("logs", name).out.count("started") == 2, "the log has both starts")


@scenario(*EVERY)
def copy_and_diff(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo content > /new; sleep 60")
    until(lambda: e.exec(name, "cat /new", status=None).status == 0, "the file is there")
    expect("/new" in e.call("diff", name).out, "diff shows the file")
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        e.call("cp", f"{name}:/new", f"{where}/copy")
        with open(f"{where}/copy") as file:
            expect(file.read() == "content\n", "cp brings the content")


@scenario(*EVERY)
def commit(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo kept > /kept; sleep 60")
    until(lambda: e.exec(name, "cat /kept", status=None).status == 0, "the file is there")
    tag = f"localhost/{name}:latest"
    e.call("commit", name, tag)
    try:
        expect(e.run("/bin/cat", "/kept", image=tag).out == "kept\n", "the image has the file")
    finally:
        e.call("rmi", "-f", tag)


# --- exec ------------------------------------------------------------------------------------


@scenario(*EVERY)
def exec_plain(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    expect(e.exec(name, "hostname; cat /proc/1/comm").out.endswith("sleep\n"), "inside")


@scenario(*EVERY)
def exec_status(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    for status in (0, 1, 42, 255):
        e.exec(name, f"exit {status}", status=status)
    e.exec(name, "kill -9 $$", status=137)


@scenario(*EVERY)
def exec_user_cwd_env(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.exec(name, "id -u; id -g; pwd; echo $COLOUR", "-u", "1000:50", "-w", "/tmp", "-e", "COLOUR=red")
    expect(answer.out == "1000\n50\n/tmp\nred\n", answer)
    expect(e.exec(name, "id -u", "-u", "alice").out == "1000\n", "a user by name")


@scenario(*EVERY)
def exec_stdin(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("exec", "-i", name, "/bin/cat", input="to exec\n")
    expect(answer.out == "to exec\n", answer)


@scenario(*EVERY)
def exec_tty(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.terminal("exec", "-t", name, "/bin/sh", "-c", "test -t 0 && echo is-a-terminal")
    expect("is-a-terminal" in answer.out, answer)


@scenario(*EVERY)
def exec_detached(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call("exec", "-d", name, "/bin/sh", "-c", "echo done > /marker")
    until(lambda: e.exec(name, "cat /marker", status=None).out == "done\n", "the marker is there")


@scenario(*EVERY)
def exec_privileged(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    plain = e.exec(name, "grep CapEff /proc/self/status").out
    privileged = e.exec(name, "grep CapEff /proc/self/status", "--privileged").out
    expect(int(privileged.split()[1], 16) > int(plain.split()[1], 16), privileged)


@scenario(*EVERY)
def exec_errors(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("exec", name, "no-such-command", status=None)
    # docker gives 126 for every error of exec.
    expect(answer.status == 127 or (e.name == "docker" and answer.status == 126), answer)
    expect("executable file not found in $path" in (answer.out + answer.err).lower(), answer)
    answer = e.call("exec", name, "/etc/passwd", status=126)
    expect("permission denied" in (answer.out + answer.err).lower(), answer)
    expect(e.call("exec", "-u", "nobody-here", name, "id", status=None).status != 0, "no such user")


# --- signals, stop and pause -----------------------------------------------------------------


@scenario(*EVERY)
def stop_gently(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in e.call("logs", name).out, "the handler is there")
    e.call("stop", "-t", "20", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 3, "the handler's status")


@scenario(*EVERY)
def stop_by_force(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    e.call("stop", "-t", "1", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 137, "killed")


@scenario(*EVERY)
def kill_with_signal(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap 'echo got-usr1' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in e.call("logs", name).out, "the handler is there")
    e.call("kill", "-s", "USR1", name)
    until(lambda: "got-usr1" in e.call("logs", name).out, "the handler ran")
    e.call("kill", name)
    until(lambda: not e.inspect(name)["State"]["Running"], "killed")


@scenario(*EVERY)
def pause(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "while :; do echo x >> /count; sleep 0.05; done")
    e.call("pause", name)
    expect(e.inspect(name)["State"]["Status"] == "paused", "inspect says paused")
    e.call("unpause", name)
    before = int(e.exec(name, "wc -l < /count").out)
    until(lambda: int(e.exec(name, "wc -l < /count").out) > before, "it goes on")


@scenario(*EVERY)
def remove_by_force(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call(*e.remove, name)
    expect(e.call("container", "inspect", name, status=None).status != 0, "gone")


@scenario(*EVERY)
def remove_paused(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call("pause", name)
    e.call(*e.remove, name)


@scenario(*EVERY)
def init_reaps(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["--init"])
    comm = e.exec(name, "cat /proc/1/comm").out.strip()
    expect(comm != "sleep", f"the first process is {comm}")
    e.call("stop", "-t", "10", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 143, "the signal reached the program")


# --- what it tells ---------------------------------------------------------------------------


@scenario(*EVERY)
def top(e: Engine) -> None:
    name = e.start("/bin/sleep", "61")
    expect("sleep" in e.call("top", name).out, "top shows the process")


@scenario(*EVERY)
def stats(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("stats", "--no-stream", "--no-trunc", name)
    expect(name in answer.out or "%" in answer.out, answer)


@scenario(*EVERY)
def inspect_pid(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    pid = e.inspect(name)["State"]["Pid"]
    with open(f"/proc/{pid}/comm") as file:
        expect(file.read() == "sleep\n", "the pid is the process's")


# --- health, restart policies ----------------------------------------------------------------


@scenario("podman", "podman-rootless")
def healthcheck(e: Engine) -> None:
    flags = ["--health-cmd", "test -f /healthy", "--health-interval", "disable"]
    name = e.start("/bin/sleep", "60", flags=flags)
    expect(e.call("healthcheck", "run", name, status=None).status == 1, "not healthy yet")
    e.exec(name, "touch /healthy")
    e.call("healthcheck", "run", name)


@scenario("docker")
def healthcheck_docker(e: Engine) -> None:
    flags = ["--health-cmd", "test -f /healthy", "--health-interval", "1s"]
    name = e.start("/bin/sh", "-c", "touch /healthy; sleep 60", flags=flags)
    until(lambda: e.inspect(name)["State"]["Health"]["Status"] == "healthy", "healthy")


@scenario(*EVERY)
def restart_policy(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "exit 3", flags=["--restart", "on-failure:2"])
    until(
        lambda: e.inspect(name)["RestartCount"] == 2 and not e.inspect(name)["State"]["Running"],
        "started again twice, then given up",
    )
    expect(e.inspect(name)["State"]["ExitCode"] == 3, "the status")


# --- checkpoints -----------------------------------------------------------------------------


@scenario("podman", machine="qemu")
def checkpoint(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.2; done")
    until(lambda: e.exec(name, "cat /n", status=None).status == 0, "it counts")
    e.call("container", "checkpoint", name, timeout=300)
    expect(not e.inspect(name)["State"]["Running"], "stopped")
    e.call("container", "restore", name, timeout=300)
    before = int(e.exec(name, "cat /n").out or 0)
    until(lambda: int(e.exec(name, "cat /n").out or 0) > before, "it goes on counting")


# --- many ------------------------------------------------------------------------------------


@scenario(*EVERY)
def many_in_a_row(e: Engine) -> None:
    for number in range(Counts.serial):
        expect(e.shell(f"echo {number}") == f"{number}\n", f"container {number}")


@scenario(*EVERY)
def many_at_once(e: Engine) -> None:
    failures: list[str] = []

    def one(number: int) -> None:
        try:
            expect(e.shell(f"echo {number}", timeout=600) == f"{number}\n", f"container {number}")
        except Failed as error:
            failures.append(str(error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(Counts.parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, "\n".join(failures[:3]))
