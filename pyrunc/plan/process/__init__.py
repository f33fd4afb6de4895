"""The process as steps: who it is, what it may, how it is scheduled, and its execve."""
