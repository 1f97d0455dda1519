"""What a disk may hold after the power went: every write recorded, then replayed in part, thousands of times."""
