#!/bin/sh
# Lists what the server answers to; with a name, describes it. Reflection: no proto files are needed.
#   ./list.sh
#   ./list.sh postil.v1.Annotations.PostAnnotations
. "$(dirname "$0")/postil.sh"
if [ $# -eq 0 ]; then
  secured "$target" list
else
  secured "$target" describe "$1"
fi
