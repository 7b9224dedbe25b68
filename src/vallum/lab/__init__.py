"""A cluster of network namespaces on one machine, in a private sandbox: real packets without Kubernetes or root.

Floor 6. `topology` decides, `cluster` builds; Services are not simulated.
"""
