"""Users' Kubernetes manifests, read as they come: StatefulSets, Deployments and Pods."""
