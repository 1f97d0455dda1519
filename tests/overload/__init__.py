"""Ten times what a server can do, and hours of what it does every day: what becomes of its answers and its memory."""
