"""asv suites: one module a room, one class a question. ``peers.py`` beside this folder uses the same data."""
