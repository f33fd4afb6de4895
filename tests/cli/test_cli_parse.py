"""The command line's parser: flags as Go's flag package and urfave/cli take them."""

import pytest

from pyrunc.arguments import LIST, NUMBER, SWITCH, Command, Flag, UsageError, parse

FLAGS = (
    Flag("bundle, b", "a text"),
    Flag("detach, d", "a switch", SWITCH),
    Flag("preserve-fds", "a number", NUMBER),
    Flag("env, e", "a list", LIST),
)


@pytest.mark.parametrize(
    ("words", "values", "arguments"),
    [
        (["id"], {}, ["id"]),
        (["--bundle", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["--bundle=/b", "id"], {"bundle": "/b"}, ["id"]),
        (["-bundle", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["-bundle=/b=c", "id"], {"bundle": "/b=c"}, ["id"]),
        (["-b", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["--b", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["--bundle=", "id"], {"bundle": ""}, ["id"]),
        (["id", "--bundle", "/b", "-d"], {"bundle": "/b", "detach": True}, ["id"]),
        (["-d", "id"], {"detach": True}, ["id"]),
        (["--detach=false", "id"], {"detach": False}, ["id"]),
        (["--detach=1", "id"], {"detach": True}, ["id"]),
        (["--detach", "--detach=F", "id"], {"detach": False}, ["id"]),
        (["--preserve-fds", "3", "id"], {"preserve-fds": 3}, ["id"]),
        (["--preserve-fds=-1", "id"], {"preserve-fds": -1}, ["id"]),
        (["--preserve-fds", "-1", "id"], {"preserve-fds": -1}, ["id"]),
        (["-e", "A=1", "--env", "B=2", "--env=C=3"], {"env": ["A=1", "B=2", "C=3"]}, []),
        (["-b", "1", "-b", "2"], {"bundle": "2"}, []),
        (["id", "--", "-d", "--"], {}, ["id", "-d", "--"]),
        (["--bundle", "--detach", "id"], {"bundle": "--detach"}, ["id"]),
        (["-", "id"], {}, ["-", "id"]),
        (["id", "-9"], {}, ["id", "-9"]),
    ],
)
def test_accepted(words: list[str], values: dict[str, object], arguments: list[str]) -> None:
    options, rest = parse(FLAGS, words, stop=False)
    assert (options.values, rest) == (values, arguments)
    assert not options.help


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo", "id"], "flag provided but not defined: -foo"),
        (["id", "-foo"], "flag provided but not defined: -foo"),
        (["--foo=1"], "flag provided but not defined: -foo"),
        (["-9", "id"], "flag provided but not defined: -9"),
        (["--Bundle", "x"], "flag provided but not defined: -Bundle"),
        (["-b"], "flag needs an argument: -b"),
        (["id", "--bundle"], "flag needs an argument: -bundle"),
        (["---b", "x"], "bad flag syntax: ---b"),
        (["--=x"], "bad flag syntax: --=x"),
        (["--detach=maybe"], 'invalid boolean value "maybe" for -detach: parse error'),
        (["--preserve-fds", "abc"], 'invalid value "abc" for flag -preserve-fds: parse error'),
        (["--preserve-fds="], 'invalid value "" for flag -preserve-fds: parse error'),
        (
            ["--preserve-fds", "\u0661"],
            'invalid value "\u0661" for flag -preserve-fds: parse error',
        ),
        (["--preserve-fds", "1_0"], 'invalid value "1_0" for flag -preserve-fds: parse error'),
        (["--preserve-fds", " 1"], 'invalid value " 1" for flag -preserve-fds: parse error'),
    ],
)
def test_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FLAGS, words, stop=False)
    assert str(caught.value) == message
    assert caught.value.banner == f"Incorrect Usage: {message}"


def test_flags_end_where_another_program_begins() -> None:
    options, rest = parse(FLAGS, ["-d", "id", "ps", "-e", "--", "-b"], stop=True)
    assert options.values == {"detach": True}
    assert rest == ["id", "ps", "-e", "--", "-b"]


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-help"], ["id", "-h"], ["-d", "--h"]])
def test_help_is_asked_for(words: list[str]) -> None:
    assert parse(FLAGS, words, stop=False)[0].help


def test_help_after_the_id_belongs_to_the_other_program() -> None:
    options, rest = parse(FLAGS, ["id", "-h"], stop=True)
    assert not options.help
    assert rest == ["id", "-h"]


def test_options_say_what_was_not_given() -> None:
    options, _ = parse(FLAGS, ["-b", ""], stop=False)
    assert options.given("bundle")
    assert not options.given("detach")
    assert (options.text("bundle", "x"), options.text("log", "x")) == ("", "x")
    assert (options.on("detach"), options.number("preserve-fds", 7)) == (False, 7)
    assert options.many("env") == []


@pytest.mark.parametrize(
    ("least", "most", "count", "message"),
    [
        (1, 1, 0, '"it" requires exactly 1 argument(s)'),
        (1, 1, 2, '"it" requires exactly 1 argument(s)'),
        (1, 2, 0, '"it" requires a minimum of 1 argument(s)'),
        (1, 2, 3, '"it" requires a maximum of 2 argument(s)'),
        (1, None, 0, '"it" requires a minimum of 1 argument(s)'),
    ],
)
def test_wrong_number_of_arguments(least: int, most: int | None, count: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Command("it", "", least=least, most=most).check(["x"] * count)
    assert str(caught.value) == "pyrunc: " + message
    assert caught.value.banner == "Incorrect Usage."


def test_right_number_of_arguments() -> None:
    Command("it", "", least=1, most=2).check(["x"])
    Command("it", "", least=1, most=2).check(["x", "y"])
    Command("it", "", least=0, most=None).check(["x"] * 50)
