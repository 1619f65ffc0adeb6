#!/bin/sh
# Installs cmake with the system's package manager, or says in one line what is missing.
set -u
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}
install_cmake() {
	if command -v apt-get >/dev/null; then
		as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q cmake
	elif command -v dnf >/dev/null; then as_root dnf install -y cmake
	elif command -v apk >/dev/null; then as_root apk add cmake
	elif command -v pacman >/dev/null; then as_root pacman -S --noconfirm cmake
	elif command -v zypper >/dev/null; then as_root zypper --non-interactive install cmake
	elif command -v brew >/dev/null; then brew install cmake
	else return 1
	fi
}
log=$(mktemp)
echo "cmake is missing; installing it with the system's package manager"
if install_cmake >"$log" 2>&1 && command -v cmake >/dev/null; then
	rm -f "$log"
else
	echo "cmake is needed to build Brim and could not be installed here (see $log): install the package \"cmake\" and run this again" >&2
	exit 1
fi
