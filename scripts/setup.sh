# Sourced by the other scripts: the tree's root, the compiler cache, and how to get packages.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
jobs=$(nproc)

if command -v ccache >/dev/null; then
  export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
  export CMAKE_CUDA_COMPILER_LAUNCHER=ccache
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
fi

# install_missing PACKAGE...: installs the Debian packages that are not there. Does nothing, and
# quickly so, if none is missing; says what is needed where it cannot install.
install_missing() {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian: expecting these packages, or what they hold, to be there: $*"
    return 0
  fi
  local missing sudo=()
  missing=$(comm -23 <(printf '%s\n' "$@" | sort) \
    <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
      awk '$2 == "installed" { print $1 }' | sort))
  [[ -n $missing ]] || return 0
  echo "Installing with apt:" $missing
  ((EUID == 0)) || sudo=(sudo)
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  if ! { "${apt[@]}" update &&
         "${apt[@]}" install -y --no-install-recommends $missing >/dev/null; }; then
    echo "Could not install:" $missing >&2
    return 1
  fi
}
