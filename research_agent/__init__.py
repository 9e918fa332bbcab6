"""A long-context research agent with a memory."""
