"""Chat models: the catalog, the OpenAI-compatible client, the extractive model."""
