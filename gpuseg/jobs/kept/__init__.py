"""Runs that are there (inside jobs; for the command line): looked at, compared, named, exported, applied to others."""
