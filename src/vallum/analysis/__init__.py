"""Questions about a Snapshot, pure: one module a question. Floor 3."""
