"""Kills servers at random and at named moments, and compares what is left with what was acknowledged."""
