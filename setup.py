"""Packages only; everything else is declared in pyproject.toml.

A table cannot say "every room under gpuseg/, and kernels/ as gpuseg.kernels", and a hand-kept list would
leave out the next room.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["gpuseg", "gpuseg.*"]), "gpuseg.kernels"])
