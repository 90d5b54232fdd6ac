"""Customers who must not come back (inside jobs; for the command line, runs and assign): erased, listed, left out."""
