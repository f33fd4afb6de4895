"""Limits where cgroup v1 hierarchies hold the controllers: a driver behind the interface of fs.Manager.

Loaded on hybrid and v1 hosts alone. To take it away, remove this package and the three places that name it:
cgroups.manager, Manager.from_state, and the mount of type `cgroup` in plan/mounts.py.
"""
