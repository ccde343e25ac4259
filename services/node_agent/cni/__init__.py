"""The face to the container runtime: the CNI plugin, its protocol, results and files."""
