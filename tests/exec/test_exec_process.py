"""The process object of `exec`: what comes from the configuration, the file and the flags."""

from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.setup.exec_process import exec_process, resolve
from pyrunc.setup.request import ExecRequest

OWN: dict[str, Any] = {
    "terminal": True,
    "cwd": "/own",
    "args": ["own"],
    "env": ["A=1"],
    "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o77},
    "capabilities": {
        "bounding": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
    },
    "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
    "noNewPrivileges": True,
    "oomScoreAdj": 100,
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
    "scheduler": {"policy": "SCHED_BATCH"},
    "apparmorProfile": "own-profile",
    "selinuxLabel": "own-label",
}


def made(document: Any = None, own: Any = None, **flags: Any) -> Any:
    config: Any = {"process": OWN if own is None else own}
    flags.setdefault("args", ["sh"] if document is None else [])
    return exec_process(config, ExecRequest("id", **flags), document)[0]


def test_without_a_file_it_is_like_the_containers_own() -> None:
    spec = made()
    assert spec["args"] == ["sh"]
    assert spec["terminal"] is False
    for key in OWN.keys() - {"args", "terminal"}:
        assert spec[key] == OWN[key]


def test_flags() -> None:
    spec = made(
        cwd="/x",
        env=["B=2"],
        tty=True,
        user="9:10",
        additional_gids=[11],
        no_new_privs=False,
        apparmor="p",
        process_label="l",
    )
    assert spec["cwd"] == "/x"
    assert spec["env"] == ["A=1", "B=2"]
    assert spec["terminal"] is True
    assert spec["user"] == {"uid": 9, "gid": 10, "additionalGids": [7, 11], "umask": 0o77}
    assert spec["noNewPrivileges"] is False
    assert spec["apparmorProfile"] == "p"
    assert spec["selinuxLabel"] == "l"


def test_uid_alone_keeps_the_configured_gid() -> None:
    assert made(user="9")["user"]["gid"] == 6


def test_the_configuration_is_not_changed() -> None:
    before = repr(OWN)
    made(user="1:2", caps=["CAP_CHOWN"], env=["X=1"], additional_gids=[3])
    assert repr(OWN) == before


def test_file_says_everything_and_inherits_the_rest() -> None:
    spec = made({"cwd": "/", "args": ["a"]})
    assert spec["args"] == ["a"]
    assert spec["user"] == {"umask": 0o77}
    assert "env" not in spec
    assert "terminal" not in spec
    assert not spec.get("noNewPrivileges")
    for key in ("capabilities", "rlimits", "oomScoreAdj", "ioPriority", "scheduler"):
        assert spec[key] == OWN[key]


def test_what_the_file_says_is_not_inherited() -> None:
    document = {
        "cwd": "/",
        "args": ["a"],
        "user": {"uid": 1, "gid": 2, "umask": 0},
        "capabilities": {"bounding": ["CAP_SYS_ADMIN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
        "oomScoreAdj": -5,
    }
    spec = made(document)
    for key, value in document.items():
        assert spec[key] == value


def test_cap_adds_to_three_sets_and_never_to_inheritable() -> None:
    """CVE-2022-29162."""
    sets = made(caps=["CAP_NET_RAW"])["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        assert sets[kind] == ["CAP_KILL", "CAP_NET_RAW"]
    assert sets["inheritable"] == ["CAP_CHOWN"]
    assert "ambient" not in sets


def test_cap_is_ambient_where_it_is_inheritable() -> None:
    sets = made(caps=["CAP_CHOWN"])["capabilities"]
    assert sets["ambient"] == ["CAP_CHOWN"]
    assert sets["inheritable"] == ["CAP_CHOWN"]


def test_cap_without_any_sets() -> None:
    own = {key: value for key, value in OWN.items() if key != "capabilities"}
    sets = made(own=own, caps=["CAP_KILL"])["capabilities"]
    assert sets == {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"cwd": "relative"}, "Cwd must be an absolute path"),
        ({"env": ["NOVALUE"]}, "invalid environment variable"),
        ({"user": "1:"}, "the group is missing"),
    ],
)
def test_refused(flags: dict[str, Any], text: str) -> None:
    with pytest.raises(Error, match=text):
        made(**flags)


@pytest.mark.parametrize("key", ["uid", "gid", "additionalGids"])
def test_the_id_that_changes_nothing_is_refused(key: str) -> None:
    value: Any = [0xFFFFFFFF] if key == "additionalGids" else 0xFFFFFFFF
    with pytest.raises(Error, match=rf"user.{key} 4294967295"):
        made({"cwd": "/", "args": ["a"], "user": {key: value}})


def test_names_are_left_for_the_containers_files() -> None:
    config: Any = {"process": OWN}
    request = ExecRequest("id", ["sh"], user="user", additional_gids=[99])
    spec, names = exec_process(config, request, None)
    assert names == ("user", None)
    resolve(spec, request, names, b"user:x:1:2::/:", b"a:x:3:user\nb:x:4:\nc:x:5:user,x\n")
    assert spec["user"] == {"uid": 1, "gid": 2, "additionalGids": [3, 5, 99], "umask": 0o77}


def test_group_that_is_named_stands_alone() -> None:
    config: Any = {"process": OWN}
    request = ExecRequest("id", ["sh"], user="user:a")
    spec, names = exec_process(config, request, None)
    assert names is not None
    resolve(spec, request, names, b"user:x:1:2::/:", b"a:x:3:user\nb:x:4:user\n")
    assert spec["user"] == {"uid": 1, "gid": 3, "additionalGids": [], "umask": 0o77}
