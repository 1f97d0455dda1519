#!/usr/bin/env bash
# Checks what an installation needs before pip starts, and names the command that installs what is missing.
# hnswlib comes as source only, hence the compiler and the Python headers.
#
# Usage: tools/prereqs.sh [PYTHON]            exit 0 when all is there
#        tools/prereqs.sh --packages [PYTHON]  print the missing packages by their Debian names, nothing else
set -u

packages_only=no
if [ "${1:-}" = --packages ]; then
  packages_only=yes
  shift
fi
python=${1:-python3}
case $(basename "$python") in
  python3.*) deb=$(basename "$python") ;; # python3.12 needs python3.12-venv, not python3-venv
  *) deb=python3 ;;
esac
missing=() # Debian package names
reasons=()

need() { # need PACKAGE REASON
  missing+=("$1")
  reasons+=("$2")
}

has() { command -v "$1" >/dev/null 2>&1; }

compiler() { # the compiler that pip will find
  for candidate in "${CXX:-}" c++ g++ clang++; do
    if [ -n "$candidate" ] && has "${candidate%% *}"; then
      echo "$candidate"
      return
    fi
  done
}

compiles() { # compiles CODE: a translation unit that passes the compiler's front end
  printf '%s\n' "$1" | $cxx -I"$include" -x c++ -std=c++14 -fsyntax-only - >/dev/null 2>&1
}

check_python() {
  if ! has "$python"; then
    need python3 "there is no '$python' (another name? make PYTHON=python3.12)"
    return 1
  fi
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    need python3.11 "$("$python" --version) is too old, 3.11 is the oldest that works (make PYTHON=python3.12 picks another)"
    return 1
  fi
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    need "$deb-venv" "'$python' cannot make virtual environments"
}

check_compiler() {
  cxx=$(compiler)
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)
  if [ -z "$cxx" ] || ! compiles '#include <vector>'; then
    need g++ "there is no working C++ compiler; hnswlib is compiled during installation"
    [ -e "$include/Python.h" ] || need "$deb-dev" "Python.h is missing; hnswlib is compiled against it"
  elif ! compiles '#include <Python.h>'; then
    need "$deb-dev" "Python.h is missing (looked in $include); hnswlib is compiled against it"
  fi
}

install_command() {
  if has apt-get; then
    echo "sudo apt-get install -y ${missing[*]}"
  elif has brew; then
    echo "brew install python@3.12 make && xcode-select --install"
  elif has dnf; then
    echo "sudo dnf install -y python3 python3-devel gcc-c++ make"
  elif has apk; then
    echo "apk add python3 python3-dev g++ make"
  else
    echo "apt-get install -y ${missing[*]}   (or what your system calls them; on a Mac: brew install python@3.12 && xcode-select --install)"
  fi
}

check_python && check_compiler
has make || need make "there is no make"

if [ $packages_only = yes ]; then
  echo "${missing[@]+"${missing[@]}"}"
  exit 0
fi
[ ${#missing[@]} -eq 0 ] && exit 0
echo "Postil cannot be installed yet:" >&2
for reason in "${reasons[@]}"; do echo "  - $reason" >&2; done
echo "Install what is missing with:" >&2
echo "  $(install_command)" >&2
exit 1
