"""The HTTP door: health, metrics and hosted media."""
