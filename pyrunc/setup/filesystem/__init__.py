"""What the root file system needs while it is set up: walks, host mounts, device nodes, copies."""
