"""A finished investigation as a document."""
