#!/bin/sh
# Packs a program that is already built, with everything around it, and has lintian judge it:
#   BRIM=target/release/brim deploy/debian/build.sh
# Needs cargo-deb. The package is in target/deb/ then.
set -eu
cd "$(dirname "$0")/../.."
./deploy/install.sh "for make deb" help2man lintian dpkg-dev
made=target/deb
rm -rf "$made"
mkdir -p "$made"
strip -o "$made/brim" "$BRIM"
for shell in bash zsh fish; do "$made/brim" completions $shell >"$made/brim.$shell"; done
help2man --no-info --name="a CDN edge in one binary" "$made/brim" >"$made/brim.1"
gzip -9nc CHANGELOG.md >"$made/changelog.gz"
# Debian's own form of one, which tells of the package only.
version=$("$made/brim" --version | cut -d' ' -f2)
when=$(date -uR -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
printf 'brim (%s-1) unstable; urgency=medium\n\n  * Version %s; changelog.gz has what changed.\n\n -- %s  %s\n' \
	"$version" "$version" "$maintainer" "$when" >"$made/changelog"
"${CARGO:-cargo}" deb --no-build --no-strip --output "$made/"
package=$(echo "$made"/*.deb)
dpkg-deb --info "$package"
dpkg-deb --contents "$package"
# Left out: the address of the authors is nobody's, Cargo's descriptions begin with an article, and it is not Debian's own.
lintian --fail-on error,warning --suppress-tags bogus-mail-host,initial-upload-closes-no-bugs,description-synopsis-starts-with-article "$package"
echo "$package"
