"""Plays the inside of simulated machines: user data that joins the cluster, a kubelet, and a reporter of notices.

The cloud is simulated, so its machines run nothing. Everything that a guest says to Kubernetes it says with the rights
of a real node: a bootstrap token, then a certificate of its own. Only what happens inside a container is left out.

The kubelet's own code with a fake runtime (kubemark) was looked at and not used: its containers never end, so that a
Job on them would never be done.
"""
