"""The CNI verbs: pods get their link and address here, and are let loose only once they are protected. Floor 4.

A small static program (`shim/`) is what the container runtime starts; it hands everything to `service`, in the agent,
over a unix socket. `verbs` does the work, the kernel holds all state of it (`attached`), and who protects a pod is a
face (`verbs.Guard`) that the agent supplies.
"""
