"""`pyrunc validate`: everything that is wrong with a configuration, at once.

The checks of `create` stop at the first fault. Here each fault is noted, its element taken out of a copy, and the
checks are asked again, until they have nothing left to say: the same code judges, so both say the same.
"""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from pyrunc import didyoumean
from pyrunc.config import explain
from pyrunc.config.load import parse_config
from pyrunc.config.locate import pointer_of
from pyrunc.config.rules.check import check
from pyrunc.container.show_plan import compile_listing, facts_for
from pyrunc.errors import ConfigError, Error
from pyrunc.inspect import effects, on_host
from pyrunc.inspect.document import Document
from pyrunc.inspect.findings import Finding, ordered
from pyrunc.inspect.members import Members

# What stands in for an element that has to be there, once it was found wrong.
_INSTEAD: dict[str, Any] = {
    "": {},
    "/ociVersion": "1.3.0",
    "/root": {"path": "rootfs"},
    "/root/path": "rootfs",
    "/process": {"args": ["sh"], "cwd": "/"},
    "/process/args": ["sh"],
    "/process/args/0": "sh",
    "/process/cwd": "/",
}
_MOST = 1000  # faults that are told


class Places:
    """Where the entries of lists stood before others were taken out."""

    def __init__(self, value: Any) -> None:
        self.lists: dict[int, list[int]] = {}
        self.value = value
        self._note(value)

    def _note(self, value: Any) -> None:
        if isinstance(value, list):
            self.lists[id(value)] = list(range(len(value)))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._note(item)

    def original(self, path: list[str | int]) -> list[str | int]:
        """A path into the document as it is now, as one into the document as it was."""
        out: list[str | int] = []
        here = self.value
        for part in path:
            known = self.lists.get(id(here)) if isinstance(here, list) else None
            within = isinstance(part, int) and known is not None and part < len(known)
            out.append(known[part] if within else part)  # type: ignore[index]
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                here = None
        return out

    def take_out(self, path: list[str | int]) -> bool:
        """As take_out, and note it."""
        before = {id(it): list(it) for it in self._around(path)}
        if not take_out(self.value, path):
            return False
        for it in self._around(path):
            was = before[id(it)]
            if len(it) < len(was):
                at = next((n for n, item in enumerate(it) if item is not was[n]), len(it))
                del self.lists[id(it)][at]
        return True

    def _around(self, path: list[str | int]) -> Iterator[list[Any]]:
        """The lists that a path leads through."""
        here = self.value
        for part in path:
            if isinstance(here, list):
                yield here
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                return


def validate(data: bytes, bundle: str) -> list[Finding]:
    """All findings about the text of a config.json, the worst first. bundle: the directory it belongs to, absolute."""
    document = Document(data)
    members = Members()
    if document.fault:
        line, column, reason, pointer = document.fault
        text = Finding("error", "json", reason, pointer, "nothing after this was read", "config.md", line, column)
        return [text]
    findings = [
        Finding("error", "duplicate-member", f'"{pointer.rpartition("/")[2]}" occurs twice in one object', pointer)
        for pointer in document.twice
    ]
    value = _without_null(json.loads(document.text))
    whole = copy.deepcopy(value)
    findings += members.unread(value)
    places = Places(value)
    findings += list(_by_schema(value, places))
    findings += list(_by_checks(value, bundle, places))
    for finding in (*effects.without_effect(value), *on_host.missing(value, bundle)):
        finding.pointer = pointer_of(places.original(path_of(finding.pointer, value)))
        findings.append(finding)
    for finding in findings:
        if not finding.line:
            finding.line, finding.column = document.place(finding.pointer)
        finding.reference = finding.reference or members.section(finding.pointer)
        finding.hint = finding.hint or _meant(finding, whole)
    return ordered(_once(findings))


def _once(findings: list[Finding]) -> list[Finding]:
    """Without what was found twice: a near miss that a check warns of as well."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for it in findings:
        key = (it.pointer, it.message)
        if key not in seen and not ("is ignored: did you mean" in it.message or "is ignored: the name" in it.message):
            kept.append(it)
        seen.add(key)
    return kept


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    return value


def _by_schema(value: Any, places: Places) -> Iterator[Finding]:
    """What jsonschema finds; the elements are taken out, or made good, until it has nothing to say."""
    for _ in range(_MOST):
        found = list(explain.faults(value, "config"))
        if not found:
            return
        for text, path in found:
            yield Finding("error", "schema", text, pointer_of(places.original(path)))
        # From the last to the first, so that indices stay right.
        done = [places.take_out(path) for _, path in sorted(found, key=lambda it: _order(it[1]), reverse=True)]
        if not any(done):
            return


def _order(path: list[str | int]) -> list[tuple[int, int, str]]:
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in path]


def take_out(value: Any, path: list[str | int]) -> bool:
    """Take the element at `path` out of a document, or put something right in its place where it has to be there.

    An element that is not there: its parent goes. Out: whether anything changed.
    """
    instead = _INSTEAD.get(pointer_of(path))
    parents = [value]
    for part in path[:-1]:
        here = parents[-1]
        try:
            parents.append(here[part])
        except (KeyError, IndexError, TypeError):
            return take_out(value, path[:-1])
    if not path:
        return False
    parent, last = parents[-1], path[-1]
    if instead is not None and isinstance(parent, dict):
        changed = bool(parent.get(last) != instead)
        parent[last] = copy.deepcopy(instead)
        return changed
    if isinstance(parent, dict) and isinstance(last, str) and last in parent:
        del parent[last]
        return True
    if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        del parent[last]
        return True
    return len(path) > 1 and take_out(value, path[:-1])


def path_of(pointer: str, value: Any) -> list[str | int]:
    """The names and indices of a JSON pointer, by the document it points into."""
    path: list[str | int] = []
    here = value
    for text in pointer.split("/")[1:]:
        name = text.replace("~1", "/").replace("~0", "~")
        part: str | int = int(name) if isinstance(here, list) and name.isdigit() else name
        path.append(part)
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            here = None
    return path


def _by_checks(value: Any, bundle: str, places: Places) -> Iterator[Finding]:
    """What the checks of `create` refuse, and the compilation of its plan, as for root."""
    config: Any = None
    warned: set[str] = set()

    def parsed() -> None:
        nonlocal config
        config = parse_config(json.dumps(value).encode())

    def checked() -> None:
        parsed()
        warned.update(check(config, bundle, euid=0, rootfs=False))

    def compiled() -> None:
        checked()
        compile_listing(config, facts_for(config, bundle))

    for step in (parsed, checked, compiled):
        yield from _refusals(step, places)
    for warning in sorted(warned):
        where = warning.rpartition(" (")[2].removesuffix(")")
        pointer = f"/{where}" if "/" in where and " " not in where else ""
        yield Finding("warning", "check", warning, pointer)


def _refusals(step: Callable[[], None], places: Places) -> Iterator[Finding]:
    for _ in range(_MOST):
        try:
            step()
            return
        except Error as error:
            text = error.message.removeprefix("config.json: ")
            rule = "check" if isinstance(error, ConfigError) else "plan"
            path = path_of(error.pointer, places.value)
            pointer = pointer_of(places.original(path))
            text = text.replace(f"({error.pointer[1:]})", f"({pointer[1:]})") if path else text
            yield Finding("error", rule, text, pointer, error.hint)
            if not path or not places.take_out(path):
                return


def _meant(finding: Finding, value: Any) -> str:
    """A near miss among names that are values: of namespaces, limits, actions, capabilities."""
    here = value
    for part in path_of(finding.pointer, value):
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return ""
    found = re.search(r" is not one of (.*)$", finding.message)
    if isinstance(here, str) and found:
        return didyoumean.hint(here, found[1].split(", "))
    return ""


def read(place: str, config: str = "") -> tuple[bytes, str, str]:
    """The text of a configuration, its file's name and its bundle. place: a bundle or a file. Raises Error."""
    file = os.path.join(place, config or "config.json") if os.path.isdir(place) else place
    try:
        with open(file, "rb") as source:
            return source.read(), file, os.path.dirname(os.path.abspath(file))
    except FileNotFoundError:
        from pyrunc.config.whereabouts import advice

        bundle = os.path.abspath(place)
        inside = os.path.isdir(place) or not place.endswith(".json")
        path = f"{bundle}/config.json" if inside else bundle
        raise Error(f"{place}: no such file or directory", hint=advice(bundle, path)) from None
    except OSError as error:
        raise Error(f"{file}: {(error.strerror or '').lower()}", errno=error.errno or 0) from None
