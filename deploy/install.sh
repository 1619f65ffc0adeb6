#!/bin/sh
# Installs what is missing with the system's package manager, or says in one line what is needed:
#   deploy/install.sh "to build Brim" cmake
#   deploy/install.sh "for make conformance" nodejs npm
# A package counts as present when its command is.
set -u
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}
# Whether the package's command is there: most are called as their package is.
is_present() {
	case $1 in
	nodejs) command -v node >/dev/null ;;
	nghttp2-client) command -v h2load >/dev/null ;;
	trafficserver) command -v traffic_server >/dev/null ;;
	varnish) command -v varnishd >/dev/null ;;
	dpkg-dev) command -v dpkg-shlibdeps >/dev/null ;;
	kubernetes-client) command -v kubectl >/dev/null ;;
	llvm-*) command -v "llvm-profdata-${1#llvm-}" >/dev/null ;;
	prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
	python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
	systemd) command -v systemd-analyze >/dev/null ;;
	chromium-headless-shell)
		for browser in "$1" chromium chromium-browser google-chrome; do
			command -v "$browser" >/dev/null && return
		done
		return 1
		;;
	*) command -v "$1" >/dev/null ;;
	esac
}
install_packages() {
	if command -v apt-get >/dev/null; then
		as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"
	elif command -v dnf >/dev/null; then as_root dnf install -y "$@"
	elif command -v apk >/dev/null; then as_root apk add "$@"
	elif command -v pacman >/dev/null; then as_root pacman -S --noconfirm "$@"
	elif command -v zypper >/dev/null; then as_root zypper --non-interactive install "$@"
	elif command -v brew >/dev/null; then brew install "$@"
	else return 1
	fi
}
are_present() {
	for package in "$@"; do is_present "$package" || return 1; done
}
purpose=$1
shift
for package in "$@"; do
	shift
	is_present "$package" || set -- "$@" "$package"
done
[ $# = 0 ] && exit 0
log=$(mktemp)
echo "missing: $*; installing with the system's package manager"
if install_packages "$@" >"$log" 2>&1 && are_present "$@"; then
	rm -f "$log"
else
	echo "$*: needed $purpose and could not be installed here (see $log); install it and run this again" >&2
	exit 1
fi
