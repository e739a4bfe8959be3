"""Starts a Kubernetes control plane on this machine: etcd, kube-apiserver, kube-controller-manager and kubectl.

Apart from the operator because only tests and the demo start it. No kubelet runs here, so the API accepts Pods, but
they never start.
"""
