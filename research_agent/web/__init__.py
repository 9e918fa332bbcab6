"""The open web: a guarded client, manners, a cache, and what a page that is none looks like."""
