"""How a label selector matches: the model says it, because pools of addresses ask for it too."""

from vallum.model.selector import holds, matches

__all__ = ["holds", "matches"]
