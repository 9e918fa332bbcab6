"""Where `web_search` looks: one provider a file."""
