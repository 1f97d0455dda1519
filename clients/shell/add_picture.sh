#!/bin/sh
# Adds a picture from a file, labelled with the concepts that follow.
#   ./add_picture.sh cat-1 cat.jpg cat tabby
. "$(dirname "$0")/postil.sh"
[ $# -ge 2 ] || usage "ID FILE [CONCEPT...]"
id=$1 file=$2
shift 2
call Inputs PostInputs <<JSON
{"inputs": [{"id": $(json "$id"), "data": {"image": {"base64": $(bytes "$file")}, "concepts": [$(concepts "$@")]}}]}
JSON
