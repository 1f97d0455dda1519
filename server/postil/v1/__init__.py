"""Generated from protos/postil/v1 by `make protos`; never edited by hand."""
