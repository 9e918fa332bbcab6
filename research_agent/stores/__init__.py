"""Where a run is kept: checkpoints in its folder or on a server, its lock, the versions of what is written, and damage."""
