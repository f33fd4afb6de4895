"""Run the bundle `hello`: `make run`.

    python tools/run_hello.py PYRUNC

Root runs the bundle as it is. Anyone else runs it in a user namespace, with the one mapping
that needs no privilege: root inside is the caller outside.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def rootless_bundle(source: Path, target: Path) -> None:
    """Write to `target` a bundle like `source`, for the calling user."""
    config = json.loads((source / "config.json").read_text())
    config["root"]["path"] = str(source / config["root"]["path"])
    for mount in config["mounts"]:
        if "bind" in mount.get("options", []):
            mount["source"] = str(source / mount["source"])
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getgid(), "size": 1}]
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(config, indent=2))


def main() -> int:
    program = os.path.abspath(sys.argv[1])
    bundle = ROOT / "bundles/hello"
    if os.geteuid() == 0:
        os.execv(program, [program, "run", str(bundle)])
    with tempfile.TemporaryDirectory(prefix="pyrunc-") as directory:
        rootless = Path(directory) / bundle.name
        rootless_bundle(bundle, rootless)
        # Not every login has an XDG_RUNTIME_DIR for the state.
        command = [program, "--root", f"{directory}/state", "run", str(rootless)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
