"""Names in objects of Kubernetes by which both files and the API are read. Apart, so that each loads alone."""

LOCAL_ADDRESSES = "vallum.dev/local-addresses"
"""Annotation of a Node, published by its agent: addresses local to it beyond status.addresses (k8s#98758)."""

POD_RANGES = "vallum.dev/pod-ranges"
"""Annotation of a Node: ranges of its pods beyond spec.podCIDRs, which takes one of each family."""

GROUPS = "vallum.dev/groups"
"""Annotation of a Node: the ranges of the groups of addresses that it is in, outer ones first."""

ROUTERS = "vallum.dev/routers"
"""Annotation of a Node: the router on its link by which it reaches the other groups, an address of each family."""

ADDRESS_TYPES = ("InternalIP", "ExternalIP")
"""Those of a Node's status.addresses that are addresses; the others are names."""

TEMPLATE_HASH = "pod-template-hash"
"""The label by which a Deployment tells its ReplicaSets apart."""
