"""The root file system as steps: mounts, devices, masked paths, and the root itself."""
