"""Names in objects of Kubernetes by which both files and the API are read. Apart, so that each loads alone."""

LOCAL_ADDRESSES = "vallum.dev/local-addresses"
"""Annotation of a Node, published by its agent: addresses local to it beyond status.addresses (k8s#98758)."""

ADDRESS_TYPES = ("InternalIP", "ExternalIP")
"""Those of a Node's status.addresses that are addresses; the others are names."""

TEMPLATE_HASH = "pod-template-hash"
"""The label by which a Deployment tells its ReplicaSets apart."""
