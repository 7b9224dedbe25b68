"""The world of a real Kubernetes API: listed, watched and decoded at the door. Floor 4, within `sources`.

`watch` gives the whole world as its first batch, then a batch for each change, and `Trouble` where the API cannot be
followed or an object cannot be read. `access` says where the API is and who we are; `client` speaks to it.
"""

from vallum.sources.kube.watch import Trouble, watch

__all__ = ["Trouble", "watch"]
