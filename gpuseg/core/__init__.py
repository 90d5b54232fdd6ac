"""The contract: exact sums, randomness by identity, deterministic mathematics, the rules of Lloyd's algorithm.

Every room above may import this one; it imports numpy and the standard library only, so that an oracle, a
worker without a compiler and a reader can all check an answer with it.
"""
