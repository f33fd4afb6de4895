"""The source archive: everything that the repository has, with its version, and the same bytes from the same commit."""

import gzip
import os
import tarfile
from pathlib import Path

from setuptools.command.sdist import sdist

import version


class SourceArchive(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        version.write(Path(base_dir) / "pyrunc", built=False)

    def make_archive(
        self,
        base_name: str,
        format: str,
        root_dir: str | None = None,
        base_dir: str | None = None,
        *_: object,
        **__: object,
    ) -> str:
        """A .tar.gz whose order, times and owners do not depend on who makes it, when and where."""
        assert format == "gztar"
        assert base_dir is not None
        output = Path(f"{base_name}.tar.gz")
        output.parent.mkdir(parents=True, exist_ok=True)
        seconds = version.epoch()

        def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = seconds
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        with (
            output.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=seconds) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(Path(base_dir).rglob("*")):
                archive.add(os.fspath(path), recursive=False, filter=plain)
        return os.fspath(output)
