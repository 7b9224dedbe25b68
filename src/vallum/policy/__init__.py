"""What may talk to what, decided purely. Floor 2: knows the model and no plane, no kernel, no Kubernetes.

`compile` makes the Ruleset of a node, `classify` its Tables, `judge` answers one packet with a reason.
"""
