#!/bin/sh
# Finds what means something like a text.
#   ./search_by_text.sh 'a hot drink'
. "$(dirname "$0")/postil.sh"
[ $# -eq 1 ] || usage TEXT
search "{\"data\": {\"text\": {\"raw\": $(json "$1")}}}"
