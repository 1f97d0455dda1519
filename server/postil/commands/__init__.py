"""Commands that work on a running server from outside, through the client."""
