"""The pytest plugin: an in-memory client as a fixture."""
