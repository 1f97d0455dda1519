"""An everyday load for hours: memory, file handles and the log must not grow."""
