"""Hostile input: random messages to every call on both doors, broken pictures, and random histories beside a model."""
