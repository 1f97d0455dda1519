"""Damages files at random and looks whether anybody believes them. Short in the tests, long by `make damage`."""
