"""Postil: a self-hosted service for annotations and visual search. Holds the version, nothing else."""

__version__ = "0.1.0"
