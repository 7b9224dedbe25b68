"""A real Kubernetes on one machine, in a private sandbox: API server, kubelets, containerd, kube-proxy, two nodes.

For tests of Vallum as the network of a cluster. Needs root, cgroups and Go; no registry, no systemd, no cluster.
`cluster.KubeCluster` is the face; `python -m vallum.lab.kube` runs one for a command or in the background.
"""
