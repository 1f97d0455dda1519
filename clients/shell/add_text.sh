#!/bin/sh
# Adds a text, labelled with the concepts that follow.
#   ./add_text.sh note-1 'an espresso in a cup' coffee
. "$(dirname "$0")/postil.sh"
[ $# -ge 2 ] || usage "ID TEXT [CONCEPT...]"
id=$1 text=$2
shift 2
call Inputs PostInputs <<JSON
{"inputs": [{"id": $(json "$id"), "data": {"text": {"raw": $(json "$text")}, "concepts": [$(concepts "$@")]}}]}
JSON
