"""The backends: where logs are kept, and what wraps them."""
