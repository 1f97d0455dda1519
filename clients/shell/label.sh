#!/bin/sh
# Labels an input with concepts.
#   ./label.sh cat-1 cat indoors
. "$(dirname "$0")/postil.sh"
[ $# -ge 2 ] || usage "INPUT_ID CONCEPT..."
id=$1
shift
call Annotations PostAnnotations <<JSON
{"annotations": [{"input_id": $(json "$id"), "data": {"concepts": [$(concepts "$@")]}}]}
JSON
