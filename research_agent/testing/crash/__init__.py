"""A rig that kills a run at any moment, resumes it, and compares what came of it with the run that nobody killed."""
