"""`postil demo`: a server, real pictures, labels and searches from the outside, in under two minutes."""
