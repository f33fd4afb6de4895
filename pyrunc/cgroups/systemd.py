"""The systemd driver: the container's cgroup is a transient scope (or slice) of systemd's.

systemd owns the tree above the scope and delegates what is below. The limits go to systemd as
properties, so that it does not undo them when it reloads, and are then written to the files as the
cgroupfs driver does, which also covers what systemd has no property for.
"""

import os
from typing import TYPE_CHECKING, Any

from pyrunc import thirdparty
from pyrunc.cgroups import detect, files, fs, make, tree, unit
from pyrunc.errors import Error, from_os_error
from pyrunc.log import log

if TYPE_CHECKING:
    from pyrunc.cgroups.bus import Systemd

Resources = dict[str, Any]


class SystemdManager(fs.Manager):
    """A container's cgroup as a unit of systemd; its interface is fs.Manager's.

    There is no cgroup before add(pid): systemd makes a scope around processes that exist.
    """

    driver = "systemd"

    __slots__ = ("annotations", "name", "user")

    name: unit.Name
    user: bool
    annotations: dict[str, str]

    @property
    def needs_pid(self) -> bool:
        return True

    @classmethod
    def planned(
        cls,
        cgroups_path: str,
        id: str,
        *,
        rootless: bool,
        resources: Resources | None,
        host: detect.Host,
        annotations: dict[str, str],
    ) -> "SystemdManager":
        """A manager for a container that is to be created. Raises ConfigError."""
        name = unit.name(cgroups_path, id, rootless)
        unit.annotated(annotations)
        path = ""
        if not rootless and host.mount:
            path = f"{host.mount}{unit.expand(name.slice)}/{name.unit}"
        self = cls(path, rootless=rootless, explicit=bool(cgroups_path), resources=resources, host=host)
        self.name = name
        self.user = rootless
        self.annotations = annotations
        return self

    @classmethod
    def restored(cls, state: dict[str, Any], host: detect.Host, resources: Resources | None) -> "SystemdManager":
        """The manager that to_state() described."""
        self = cls(
            state["path"],
            rootless=state["rootless"],
            explicit=True,
            resources=resources,
            host=host,
        )
        self.name = unit.Name(state["slice"], state["unit"], state["unit"])
        self.user = state["user"]
        self.annotations = {}
        self.sub = state.get("sub", "")
        return self

    def to_state(self) -> dict[str, object]:
        """fs.Manager's, and the unit."""
        out = super().to_state()
        out.update(slice=self.name.slice, unit=self.name.unit, user=self.user)
        return out

    def create(self) -> None:
        """Check what can be checked before there is a process; makes nothing and returns None."""
        if self.host.mode != "unified":
            raise Error(
                "the systemd driver needs cgroup v2: this host has"
                f" {'no cgroups' if self.host.mode == 'none' else 'cgroup v1'}",
                hint="boot with systemd.unified_cgroup_hierarchy=1, or use the cgroupfs driver",
            )
        self._check_host(self._wanted())
        if not self.exists():
            return
        if not self.name.unit.endswith(".slice"):
            make.check_unused(self.fd, self.path)
        self.close()

    def add(self, pid: int) -> None:
        """Make the unit with the process in it and write the limits; or, where the unit exists,
        move a further process into it. Raises Error.
        """
        if self.fd >= 0 or self.exists():
            super().add(pid)
            return
        systemd = self._connect()
        from pyrunc.cgroups.bus import UNIT_EXISTS, CallError

        try:
            version = systemd.version()
            properties = unit.creation(self.name, pid, self.annotations, self.resources, version)
            if self.user:
                self._check_unused(systemd)
            # Also where it fails half way; but a unit of this name that runs is another container's.
            self.ours = True
            try:
                systemd.start(self.name.unit, properties)
            except CallError as error:
                self.ours = error.name != UNIT_EXISTS
                raise
            self.path = self.host.mount + systemd.unit_cgroup(self.name.unit)
        finally:
            systemd.close()
        try:
            self.fd = make.make(self.host, self.path, self._wanted(), [], new=False)
            self._delegate()
            self.made.clear()
            if self.sub or self.name.unit.endswith(".slice"):
                super().add(pid)
            self.apply()
        except OSError as error:
            raise from_os_error(f"set up cgroup {self.path}:", error) from None

    def _check_unused(self, systemd: "Systemd") -> None:
        """What create() checks for the system's instance: only a user's own says where its units lie. In a frozen
        cgroup the process would never start, and nobody be told."""
        if self.name.unit.endswith(".slice"):
            return
        path = f"{self.host.mount}{systemd.cgroup()}{unit.expand(self.name.slice)}/{self.name.unit}"
        try:
            fd = files.open_dir(path)
        except FileNotFoundError:
            return
        try:
            make.check_unused(fd, path)
        finally:
            os.close(fd)

    def _connect(self) -> "Systemd":
        # Here and not above: kill, ps and state do without D-Bus.
        thirdparty.enable()
        try:
            from pyrunc.cgroups.bus import Systemd
        except ModuleNotFoundError as error:
            raise Error(
                f"systemd cannot be asked: {error}",
                hint=f"{thirdparty.install('jeepney')}; or do without --systemd-cgroup",
            ) from None

        return Systemd(self.user)

    def effective(self, resources: Resources) -> Resources:
        """With the quota that systemd makes of linux.resources.cpu, so that the file says the same."""
        return unit.rounded(resources)

    def update_unit(self, resources: Resources) -> None:
        """Tell systemd of changed limits, before they are written to the files."""
        systemd = self._connect()
        try:
            systemd.set(self.name.unit, unit.resources(resources, systemd.version()))
        finally:
            systemd.close()

    def remove(self, timeout: float = 10.0) -> None:
        """Kill what is left, stop the unit and wait until systemd is done with it."""
        try:
            if not self.path:
                self._find()
            if self.kill():
                tree.wait_event(self.fd, "populated", 0, timeout)
            systemd = self._connect()
            try:
                systemd.stop(self.name.unit)
            finally:
                systemd.close()
        except Error as error:
            # A user's instance may have ended before the container: an empty scope goes by itself.
            log.debug(f"stop {self.name.unit}: {error}")
        super().remove(timeout)

    def _find(self) -> None:
        """Ask where the unit's cgroup is, for a state that was written before it was known."""
        from pyrunc.cgroups.bus import NO_SUCH_UNIT, CallError

        systemd = self._connect()
        try:
            self.path = self.host.mount + systemd.unit_cgroup(self.name.unit)
        except CallError as error:
            if error.name != NO_SUCH_UNIT:
                raise
        finally:
            systemd.close()
