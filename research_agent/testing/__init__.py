"""Doubles that ship beside the real thing: a scripted model host, a local site."""
