#!/bin/sh
# Finds what looks like the picture in a file.
#   ./search_by_picture.sh cat.jpg
. "$(dirname "$0")/postil.sh"
[ $# -eq 1 ] || usage FILE
search "{\"data\": {\"image\": {\"base64\": $(bytes "$1")}}}"
