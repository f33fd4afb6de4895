"""Write the completions for bash, zsh and fish from what the commands declare.

    python completions/generate.py [--check]

The files are kept in the repository, so that an installation needs no generator; --check fails where they are not up
to date. Ids of containers are asked of `pyrunc list --quiet` when they are wanted, with the --root of the line.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pyrunc import cli  # noqa: E402
from pyrunc.arguments import SWITCH, Command, Flag  # noqa: E402

#: What may stand for a value, by the name that help gives it; "FORMAT" depends on the command.
CHOICES = {
    "MODE": "soft full strict ignore",
    "LEVEL": "error warning debug",
    "KIND": "network",
    "0|1": "0 1",
}
FORMATS = {"": "text json", "list": "table json", "ps": "table json"}
SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH"
FILES, DIRECTORIES, IDS, NOTHING = "files", "directories", "ids", ""


def values(flag: Flag, command: str) -> str:
    """What completes a flag's value: FILES, DIRECTORIES, NOTHING, or words with spaces between them."""
    if flag.value in ("FILE", "PATH"):
        return FILES
    if flag.value == "DIR":
        return DIRECTORIES
    if flag.value == "FORMAT":
        return FORMATS.get(command, FORMATS[""])
    return CHOICES.get(flag.value, NOTHING)


def first_argument(command: Command) -> str:
    """What the first argument is: IDS, DIRECTORIES or NOTHING. A container that is to be made has no id yet."""
    if command.name in ("create", "restore"):
        return NOTHING
    if "<bundle>" in command.usage:
        return DIRECTORIES
    return IDS if command.usage.startswith("<container-id>") else NOTHING


def dashed(flag: Flag) -> list[str]:
    """The flag's names as they are typed."""
    return [("--" if len(name) > 1 else "-") + name for name in flag.names]


def shown(flags: "list[Flag] | tuple[Flag, ...]") -> list[Flag]:
    """The flags that help shows."""
    return [flag for flag in flags if flag.help]


# --- bash ---------------------------------------------------------------------

BASH = """\
# bash completion for pyrunc; written by completions/generate.py

_pyrunc_values() {{ # KIND OR WORDS
    case $1 in
        files) compopt -o default 2>/dev/null; COMPREPLY=() ;;
        directories) compopt -o dirnames 2>/dev/null; COMPREPLY=() ;;
        ids) _pyrunc_values " $("${{words[0]}}" "${{root[@]}}" list --quiet 2>/dev/null)" ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur") ;;
    esac
}}

_pyrunc() {{
    local cur prev words=("${{COMP_WORDS[@]}}") command= i=1 arguments=0
    local -a root=()
    cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    while [ "$i" -lt "$COMP_CWORD" ]; do
        case ${{words[i]}} in
            --root) root=(--root "${{words[i + 1]}}"); i=$((i + 1)) ;;
            {global_valued}) [ -n "$command" ] || i=$((i + 1)) ;;
            -*) ;;
            *) if [ -z "$command" ]; then command=${{words[i]}}; else arguments=$((arguments + 1)); fi ;;
        esac
        i=$((i + 1))
    done
    case $command:$prev in
{flag_values}
    esac
    case $command in
{commands}
    esac
}}

complete -F _pyrunc pyrunc
"""


def bash(commands: list[Command]) -> str:
    """The file for bash-completion(1)."""
    valued = [flag for flag in cli.GLOBAL_FLAGS if flag.kind != SWITCH and flag.names[0] != "root"]
    global_valued = "|".join(name for flag in valued for name in dashed(flag))
    lines: list[str] = []
    for name, flags in [("", cli.GLOBAL_FLAGS), *((it.name, it.flags) for it in commands)]:
        for flag in shown(tuple(flags)):
            if flag.kind == SWITCH:
                continue
            patterns = "|".join(f"{name}:{it}" for it in dashed(flag))
            kind = values(flag, name)
            action = f"_pyrunc_values '{kind}'" if kind else "COMPREPLY=()"
            lines.append(f"        {patterns}) {action}; return ;;")
    bodies = []
    names = " ".join(it.name for it in commands)
    first = " ".join(name for flag in shown(tuple(cli.GLOBAL_FLAGS)) for name in dashed(flag))
    bodies.append(f"        '') _pyrunc_values '{first} {names} help' ;;")
    for command in commands:
        own = " ".join(name for flag in shown(tuple(command.flags)) for name in dashed(flag))
        first = first_argument(command)
        body = [f"        {command.name})", "            case $cur in"]
        body.append(f"                -*) _pyrunc_values '{own} --help' ;;")
        action = f'[ "$arguments" -gt 0 ] || _pyrunc_values {first}' if first else "COMPREPLY=()"
        if command.name == "kill":
            action = f"if [ \"$arguments\" = 0 ]; then _pyrunc_values ids; else _pyrunc_values '{SIGNALS}'; fi"
        body.append(f"                *) {action} ;;")
        bodies.append("\n".join([*body, "            esac ;;"]))
    bodies.append(f"        help) _pyrunc_values '{names}' ;;")
    return BASH.format(global_valued=global_valued, flag_values="\n".join(lines), commands="\n".join(bodies))


# --- zsh ----------------------------------------------------------------------

ZSH = """\
#compdef pyrunc
# zsh completion for pyrunc; written by completions/generate.py

_pyrunc_ids() {{
    local -a ids root
    root=(${{opt_args[--root]:+--root $opt_args[--root]}})
    ids=(${{(f)"$(_call_program ids pyrunc $root list --quiet 2>/dev/null)"}})
    _describe 'container' ids
}}

_pyrunc_commands() {{
    local -a commands
    commands=(
{names}
    )
    _describe 'command' commands
}}

_pyrunc() {{
    local curcontext=$curcontext state line
    typeset -A opt_args
    _arguments -C \\
{global_flags}
        '1:command:_pyrunc_commands' '*::argument:->rest'
    [ "$state" = rest ] || return
    curcontext=${{curcontext%:*:*}}:pyrunc-$line[1]:
    case $line[1] in
{commands}
    esac
}}

_pyrunc "$@"
"""


def quoted(text: str) -> str:
    """Text inside '...' and [...] of _arguments, and of _describe."""
    return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def zsh_action(kind: str) -> str:
    """What _arguments does for a kind of value."""
    actions = {FILES: "_files", DIRECTORIES: "_files -/", IDS: "_pyrunc_ids", NOTHING: " "}
    return actions.get(kind, f"({kind})")


def zsh_flag(flag: Flag, command: str) -> list[str]:
    """A flag's specifications for _arguments, one a name."""
    tail = "" if flag.kind == SWITCH else f":{quoted(flag.value)}:{zsh_action(values(flag, command))}"
    many = "*" if flag.kind == "list" else ""
    return [f"'{many}{name}[{quoted(flag.help)}]{tail}'" for name in dashed(flag)]


def zsh(commands: list[Command]) -> str:
    """The file for zshcompsys(1)."""
    names = "\n".join(f"        '{it.name}:{quoted(it.summary)}'" for it in commands)
    flags = [line for flag in shown(tuple(cli.GLOBAL_FLAGS)) for line in zsh_flag(flag, "")]
    bodies = []
    for command in commands:
        own = [line for flag in shown(tuple(command.flags)) for line in zsh_flag(flag, command.name)]
        first = first_argument(command)
        own.append(f"'1:argument:{zsh_action(first)}'")
        if command.name == "kill":
            own.append(f"'2:signal:({SIGNALS})'")
        elif command.stop:
            own.append("'*::command:_normal'")
        bodies.append(f"        {command.name})\n            _arguments " + " \\\n                ".join(own) + " ;;")
    return ZSH.format(
        names=names,
        global_flags="".join(f"        {line} \\\n" for line in flags).rstrip("\n"),
        commands="\n".join(bodies),
    )


# --- fish ---------------------------------------------------------------------

FISH = """\
# fish completion for pyrunc; written by completions/generate.py

function __pyrunc_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case {global_valued}
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return 0
        end
        set -e words[1]
    end
    return 1
end

function __pyrunc_is
    set -l command (__pyrunc_command); and contains -- $command $argv
end

# How many arguments stand after the command, flags left out.
function __pyrunc_arguments
    set -l command (__pyrunc_command); or return 1
    set -l words (commandline -opc)
    set -l at (contains -i -- $command $words)
    set -l after (string match -v -- '-*' $words[(math $at + 1)..])
    echo (count $after)
end

function __pyrunc_first
    __pyrunc_is $argv; and test (__pyrunc_arguments) = 0
end

function __pyrunc_ids
    set -l words (commandline -opc)
    set -l at (contains -i -- --root $words)
    if test -n "$at"
        pyrunc --root $words[(math $at + 1)] list --quiet 2>/dev/null
    else
        pyrunc list --quiet 2>/dev/null
    end
end

complete -c pyrunc -f
"""


def fish_text(text: str) -> str:
    """Text between single quotes of fish's."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_flag(flag: Flag, command: str) -> str:
    """The line of one flag; command "": before the command."""
    condition = f"'__pyrunc_is {command}'" if command else "'not __pyrunc_command'"
    line = f"complete -c pyrunc -n {condition}"
    for name in flag.names:
        line += f" -{'l' if len(name) > 1 else 's'} {name}"
    if flag.kind != SWITCH:
        kind = values(flag, command)
        if kind == FILES:
            line += " -r -F"
        elif kind == DIRECTORIES:
            line += " -x -a '(__fish_complete_directories)'"
        else:
            line += " -x" + (f" -a {fish_text(kind)}" if kind else "")
    return line + f" -d {fish_text(flag.help)}\n"


def fish(commands: list[Command]) -> str:
    """The file for complete(1) of fish."""
    valued = [flag for flag in cli.GLOBAL_FLAGS if flag.kind != SWITCH]
    out = FISH.format(global_valued=" ".join(name for flag in valued for name in dashed(flag)))
    out += "".join(fish_flag(flag, "") for flag in shown(tuple(cli.GLOBAL_FLAGS)))
    for command in commands:
        out += f"complete -c pyrunc -n 'not __pyrunc_command' -a {command.name} -d {fish_text(command.summary)}\n"
    out += "complete -c pyrunc -n 'not __pyrunc_command' -a help -d 'show the help of a command'\n"
    out += f"complete -c pyrunc -n '__pyrunc_first help' -a '{' '.join(it.name for it in commands)}'\n"
    by_kind: dict[str, list[str]] = {}
    for command in commands:
        out += "".join(fish_flag(flag, command.name) for flag in shown(tuple(command.flags)))
        by_kind.setdefault(first_argument(command), []).append(command.name)
    for kind, action in ((IDS, "'(__pyrunc_ids)'"), (DIRECTORIES, "'(__fish_complete_directories)'")):
        out += f"complete -c pyrunc -n '__pyrunc_first {' '.join(by_kind[kind])}' -a {action}\n"
    return out + f"complete -c pyrunc -n '__pyrunc_is kill; and test (__pyrunc_arguments) = 1' -a '{SIGNALS}'\n"


def files() -> dict[Path, str]:
    """Every file and what is in it."""
    commands = [cli.load(name).COMMAND for name in cli.COMMANDS]
    return {HERE / "pyrunc.bash": bash(commands), HERE / "_pyrunc": zsh(commands), HERE / "pyrunc.fish": fish(commands)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the completions of pyrunc.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    check = parser.parse_args().check
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.name} is out of date: python completions/generate.py", file=sys.stderr)
        else:
            path.write_text(files()[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
