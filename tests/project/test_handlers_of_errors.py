"""Handlers of OSError name the errnos that they mean.

"Gone" is ENOENT, not EMFILE: a handler that takes every errno for the usual one turns a lack of descriptors
into a false answer. So each handler of OSError, or of something broader, in pyrunc/ does one of these on every way out:

- it raises (the same error, or one that tells it),
- it has compared the errno with those that it means,
- it stands in NOT_NAMED, with the reason why any errno will do.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support import ROOT

#: Classes that say nothing about the errno.
BROAD = {"OSError", "EnvironmentError", "IOError", "Exception", "BaseException"}

#: Functions that never return.
RAISE = {"refuse"}

#: name of file:function → (how many of its handlers, why any errno will do).
NOT_NAMED: dict[str, tuple[int, str]] = {
    "bus.py:Systemd._connect": (1, "the error after the last address tells each cause"),
    "driver.py:V1Manager._unmake": (1, "clean-up after an error, which is what counts; reported with --debug"),
    "driver.py:V1Manager.kill": (1, "without a freezer, repeating the walk is all that is left"),
    "update.py:update": (1, "roll-back after an error, reported for each file"),
    "charged.py:_be_the_copy": (2, "whatever it is goes to pyrunc as a word"),
    "fs.py:Manager._unmake": (1, "clean-up after an error, which is what counts; reported with --debug"),
    "make.py:_release": (1, "what could not be released is refused below, where it matters"),
    "make.py:enable": (2, "make() looks whether a limit needs it, and explains"),
    "tree.py:kill": (2, "the walk kills without a freezer, and SIGKILL ends frozen processes"),
    "update.py:_restore": (1, "roll-back after an error, reported for each file"),
    "trace.py:write": (1, "reported; the container is there by then"),
    "criu_rpc.py:call": (1, "raised once criu knows"),
    "criu_rpc.py:failed": (1, "criu's log, for an error's text"),
    "cli.py:main": (2, "the last one: everything is reported"),
    "cli.py:_stderr": (1, "there is no other place to tell it"),
    "whereabouts.py:first_missing": (1, "asked for an error's hint"),
    "whereabouts.py:not_a_directory": (1, "asked for an error's hint"),
    "whereabouts.py:_near_file": (1, "asked for an error's hint"),
    "process.py:attempt": (1, "clean-up after an error, reported"),
    "files.py:remove_quietly": (1, "clean-up after an error, which is what counts"),
    "run.py:_delete": (1, "reported; the exit status is the program's"),
    "sd_notify.py:Proxy.__init__": (1, "a warning: a service manager that is gone is no reason not to run"),
    "sd_notify.py:Proxy._pass_on": (1, "a warning: as above"),
    "terminal.py:_Relay._write_out": (1, "a reader that is gone, or a warning"),
    "terminal.py:_read": (1, "but for EAGAIN any error is the end: nothing comes any more"),
    "wait.py:become_subreaper": (1, "orphans go to init then; reported with --debug"),
    "on_host.py:_near": (1, "asked for a finding's hint"),
    "on_host.py:_hooks": (1, "told in a finding"),
    "risks.py:size_of": (1, "the sum is told as incomplete"),
    "log.py:Log.write": (1, "a log that cannot be written is no reason to fail"),
    "log.py:Log.error": (1, "there is no other place to tell it"),
    "cache.py:store": (1, "a cache that cannot be used is none: the filter has been compiled"),
    "cache.py:_open_directory": (2, "a cache that cannot be used is none: the filter is compiled"),
    "cache.py:_read": (2, "a cache that cannot be used is none: the filter is compiled"),
    "cache.py:_identity": (1, "a cache that cannot be used is none: the filter is compiled"),
    "host.py:oom_killed": (1, "asked for an error's text; reported with --debug"),
    "mount_hints.py:of_mount": (2, "asked for an error's hint"),
    "not_executed.py:tell": (1, "asked for an error's text; reported with --debug"),
    "resctrl.py:_failed": (1, "asked for an error's text"),
}


def compares_errno(test: ast.expr) -> bool | None:
    """True: who passes this test has a named errno. False: who fails it has. None: neither."""
    if isinstance(test, ast.BoolOp):
        told = [compares_errno(it) for it in test.values]
        if isinstance(test.op, ast.And):
            return True if True in told else (False if told == [False] else None)
        return False if False in told else None
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Attribute) and test.left.attr == "errno":
        return isinstance(test.ops[0], ast.Eq | ast.In)
    return None


def leaves(statements: Sequence[ast.stmt]) -> bool:
    """Whether a way leads out of the statements, without an exception and without that the errno was looked at."""
    for at, it in enumerate(statements):
        rest = statements[at + 1 :]
        if isinstance(it, ast.Raise):
            return False
        if isinstance(it, ast.Return | ast.Continue | ast.Break):
            return True
        if isinstance(it, ast.Expr) and isinstance(it.value, ast.Call) and ast.unparse(it.value.func) in RAISE:
            return False
        if isinstance(it, ast.With):
            return leaves([*it.body, *rest])
        if isinstance(it, ast.If):
            named = compares_errno(it.test)
            ways = {True: [it.orelse], False: [it.body], None: [it.body, it.orelse]}[named]
            return any(leaves([*way, *rest]) for way in ways)
    return True


def broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(it) in BROAD for it in types)


def handlers(node: ast.AST, function: str = "") -> Iterator[tuple[str, ast.ExceptHandler]]:
    for it in ast.iter_child_nodes(node):
        name = function
        if isinstance(it, ast.FunctionDef | ast.ClassDef):
            name = f"{function}.{it.name}" if function else it.name
        if isinstance(it, ast.ExceptHandler) and broad(it):
            yield name, it
        yield from handlers(it, name)


def swallowing(text: str) -> list[tuple[str, int]]:
    """(function, line) of each broad handler that lets an errno pass that it does not name."""
    return [(name, it.lineno) for name, it in handlers(ast.parse(text)) if leaves(it.body)]


FILES = sorted((ROOT / "pyrunc").rglob("*.py"))


def test_each_handler_names_the_errnos_that_it_means() -> None:
    found: Counter[str] = Counter()
    lines: dict[str, list[int]] = {}
    for path in FILES:
        for function, line in swallowing(path.read_text()):
            where = f"{path.name}:{function}"
            found[where] += 1
            lines.setdefault(where, []).append(line)
    allowed = {where: count for where, (count, _) in NOT_NAMED.items()}
    more = {where: lines[where] for where, count in found.items() if count > allowed.get(where, 0)}
    assert not more, "name the errnos, raise the rest; or say in NOT_NAMED why any will do"
    fewer = {where: count for where, count in allowed.items() if found[where] < count}
    assert not fewer, "take these out of NOT_NAMED"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_hides_errors_without_a_handler(path: Path) -> None:
    """contextlib.suppress(OSError) is such a handler that nobody sees."""
    for it in ast.walk(ast.parse(path.read_text())):
        if isinstance(it, ast.Call) and ast.unparse(it.func).split(".")[-1] == "suppress":
            assert not {ast.unparse(arg) for arg in it.args} & BROAD


TRY = "def f():\n    try:\n        g()\n    except OSError as error:\n"


@pytest.mark.parametrize(
    ("handler", "swallows"),
    [
        ("pass", True),
        ("return None", True),
        ("raise", False),
        ("if error.errno not in GONE:\n            raise\n        return None", False),
        ("if error.errno in GONE:\n            return None\n        raise", False),
        ("if error.errno == ENOENT:\n            return None\n        return 1", True),
        ("if error.errno == ENOENT and x:\n            return None\n        raise", False),
        ("if error.errno == ENOENT or x:\n            return None\n        raise", True),
        ("if x:\n            return None\n        raise", True),
        ("if error.errno != ENOENT:\n            log(error)", True),
        ("if error.errno == ENOENT:\n            pass\n        elif x:\n            raise", True),
    ],
)
def test_what_counts_as_swallowed(handler: str, swallows: bool) -> None:
    assert bool(swallowing(TRY + "        " + handler)) is swallows
