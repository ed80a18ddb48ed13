"""Logs that are versioned, immutable, strongly consistent, reactive and end-to-end encrypted."""
