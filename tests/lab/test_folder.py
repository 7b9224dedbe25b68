"""The world folder that the lab keeps for its agents."""

from pathlib import Path
from tempfile import TemporaryDirectory

from build import pod
from vallum.lab.folder import WorldFolder
from vallum.sources.folder import read_world


def test_replacing_the_world_switches_at_once_and_says_the_revision_that_is_read():
    with TemporaryDirectory() as parent:
        folder = WorldFolder(Path(parent))
        revisions = []
        for things in ((pod("a/x"),), (pod("a/x"), pod("a/y"))):
            revisions.append(folder.replace(things))
            assert read_world(folder.path).revision == revisions[-1]
        assert len(set(revisions)) == 2
        assert len([one for one in Path(parent).iterdir() if one.is_dir() and not one.is_symlink()]) <= 2
