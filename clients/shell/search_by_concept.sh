#!/bin/sh
# Finds what most likely shows all of the concepts.
#   ./search_by_concept.sh cat indoors
. "$(dirname "$0")/postil.sh"
[ $# -ge 1 ] || usage CONCEPT...
search "{\"data\": {\"concepts\": [$(concepts "$@")]}}"
