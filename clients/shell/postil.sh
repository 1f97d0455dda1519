# What the scripts of this folder share: where the server is, and how a call is made. To be sourced, not run.
#
#   POSTIL_TARGET   host:port, default 127.0.0.1:18080
#   POSTIL_KEY      an API key, for servers that ask for one
#   POSTIL_TLS      yes for TLS with the system's authorities
#   POSTIL_CA       PEM file with the authority to trust; means TLS
#   POSTIL_CERT     PEM file with a client certificate, and POSTIL_CERT_KEY with its key; mean TLS
#   POSTIL_SERVICE  one service name for all calls, for example clarifai.api.V2; default: postil.v1.<Noun>
#   GRPCURL         the grpcurl to use (https://github.com/fullstorydev/grpcurl)

set -eu

target=${POSTIL_TARGET:-127.0.0.1:18080}
grpcurl=${GRPCURL:-grpcurl}

plaintext=-plaintext
if [ -n "${POSTIL_TLS:-}${POSTIL_CA:-}${POSTIL_CERT:-}" ]; then
  plaintext=
fi

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

secured() { # secured ARGUMENTS...: grpcurl over TLS or in plain text, as the variables say
  "$grpcurl" $plaintext ${POSTIL_CA:+-cacert "$POSTIL_CA"} ${POSTIL_CERT:+-cert "$POSTIL_CERT"} \
    ${POSTIL_CERT_KEY:+-key "$POSTIL_CERT_KEY"} "$@"
}

call() { # call NOUN METHOD: the request is read from stdin
  set -- "${POSTIL_SERVICE:-postil.v1.$1}/$2"
  secured ${POSTIL_KEY:+-H "authorization: Key $POSTIL_KEY"} -d @ "$target" "$1"
}

search() { # search ANNOTATION: ranks by a JSON annotation, ten hits
  call Searches PostAnnotationsSearches <<JSON
{"searches": [{"query": {"ranks": [{"annotation": $1}]}}], "pagination": {"per_page": 10}}
JSON
}
