"""A Kubernetes node that runs containers as sandboxed processes of one ordinary user.

It speaks to the API server as a kubelet does, with a kubelet's rights, and gives a pod what a kubelet would: its
volumes, its environment, its probes, its grace, its status and its logs. It needs no root, no container engine and no
network set-up. What a container may see of the machine is decided by the image table alone.

What it does not do is written in playground/DECISIONS.md.
"""
