"""The power is cut below whole servers, on a file system that forgets what was not synced."""
