"""process.cwd that is missing: it is made, also in a root that is read-only afterwards."""

import pytest

from support import MakeBundle, Runtime


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("cwd", ["/new", "/new/deep/er", "/tmp/../made/./here"])
@pytest.mark.parametrize("readonly", [True, False])
def test_made_where_it_is_missing(cwd: str, readonly: bool, runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"root": {"readonly": readonly}, "process": {"cwd": cwd, "args": ["/bin/pwd"]}})
    done = runtime.run(it, check=True)
    assert done.stdout.strip() in (cwd, "/made/here")
    made = it.rootfs / done.stdout.strip().lstrip("/")
    assert made.is_dir()
    assert made.stat().st_mode & 0o7777 == 0o755
