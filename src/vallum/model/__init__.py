"""The nouns of the domain, frozen. Floor 1: knows nobody, does nothing.

What is here is what Kubernetes calls it; wire shapes stay in `sources`, decisions in `policy`.
"""
