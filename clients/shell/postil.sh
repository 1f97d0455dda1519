# What the scripts of this folder share: where the server is, and how a call is made. To be sourced, not run.
#
#   POSTIL_TARGET   host:port, default 127.0.0.1:18080
#   POSTIL_KEY      an API key, for servers that ask for one
#   POSTIL_SERVICE  one service name for all calls, for example clarifai.api.V2; default: postil.v1.<Noun>
#   GRPCURL         the grpcurl to use (https://github.com/fullstorydev/grpcurl)

set -eu

target=${POSTIL_TARGET:-127.0.0.1:18080}
grpcurl=${GRPCURL:-grpcurl}

usage() { # usage ARGUMENTS
  echo "usage: ${0##*/} $1" >&2
  exit 2
}

json() { # json TEXT: a JSON string
  printf '%s ' "$1" | tr '\n\t\r' '   ' | { cat; echo; } | sed -e 's/ $//' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/"/'
}

concepts() { # concepts ID...: JSON concepts, all of them present
  separator=
  for concept; do
    printf '%s{"id": %s, "value": 1}' "$separator" "$(json "$concept")"
    separator=', '
  done
}

bytes() { # bytes FILE: its content as a JSON string
  printf '"%s"' "$(base64 <"$1" | tr -d '\n')"
}

call() { # call NOUN METHOD: the request is read from stdin
  set -- "${POSTIL_SERVICE:-postil.v1.$1}/$2"
  "$grpcurl" -plaintext ${POSTIL_KEY:+-H "authorization: Key $POSTIL_KEY"} -d @ "$target" "$1"
}

search() { # search ANNOTATION: ranks by a JSON annotation, ten hits
  call Searches PostAnnotationsSearches <<JSON
{"searches": [{"query": {"ranks": [{"annotation": $1}]}}], "pagination": {"per_page": 10}}
JSON
}
