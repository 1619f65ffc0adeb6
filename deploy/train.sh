#!/bin/sh
# Watches the program while it is put to work, and leaves what the compiler can learn from that (which ways
# are taken, and how often) in target/trained/profile. `make release` builds with it.
# Needs llvm-profdata of the compiler's own LLVM: of rustup's component llvm-tools, or of the system's package.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
made=$PWD/target/trained
profdata() {
	for tool in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "$(command -v "llvm-profdata-$llvm")"; do
		[ -x "$tool" ] && echo "$tool" && return
	done
	return 1
}
# Where there is no way to rustup's server, it does not give up by itself.
profdata >/dev/null || timeout 60 rustup component add llvm-tools ||
	./deploy/install.sh "for make release, in the version of rustc's LLVM," "llvm-$llvm"
profdata=$(profdata)
echo "building what is watched: target/trained/watched"
RUSTFLAGS="-Cprofile-generate=$made/seen" $cargo build --release --locked --target "$host" --target-dir "$made/watched"
rm -rf "$made/seen"
# Of the mixture of the soak, which is no benchmark's: everything is asked for, in good and in bad ways.
for format in json combined; do
	echo "watching it in a soak of two minutes, with access logs as $format"
	$cargo bench --profile dev --locked --bench soak -- --minutes 0.5 --log-format "$format" \
		--brim "$made/watched/$host/release/brim" >"$made/soak.log" || { cat "$made/soak.log"; exit 1; }
	tail -n 12 "$made/soak.log"
done
"$profdata" merge -o "$made/profile" "$made/seen"
