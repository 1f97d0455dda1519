#!/bin/sh
# Finds what is like an input that is already there.
#   ./search_by_input.sh cat-1
. "$(dirname "$0")/postil.sh"
[ $# -eq 1 ] || usage INPUT_ID
search "{\"input_id\": $(json "$1")}"
