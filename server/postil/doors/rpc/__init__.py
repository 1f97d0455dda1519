"""The gRPC door: listener, dispatcher, servicers."""
