"""The doors: gRPC and HTTP, both through one dispatcher."""
