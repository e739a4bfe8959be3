"""A Kubernetes control plane on this machine: etcd, kube-apiserver, kube-controller-manager, kubectl, as processes.

Stands apart from the operator because it is scaffolding: tests and the demo start it, `spotcompute` never knows it.
No kubelet runs here: Pods are accepted by the API and never start.
"""
