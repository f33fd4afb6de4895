"""pyrunc: an OCI container runtime that decides in Python and does in system calls."""

__version__ = "0.1.0"
SPEC_VERSION = "1.3.0"
