"""A pytest plugin for runs on mutants: properties stop at the first example that fails, and look for no smaller one."""

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=(Phase.explicit, Phase.generate))
settings.load_profile("unshrunk")
