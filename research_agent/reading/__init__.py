"""Bytes to text: Markdown, HTML, PDF and plain text."""
