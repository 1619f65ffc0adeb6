# Everything that a newcomer and CI need. `make help` lists it.

ORIGIN ?=
LISTEN ?= 127.0.0.1:8080
LISTEN_TLS ?= 127.0.0.1:8443
CARGO ?= cargo
CONFORMANCE ?=
SOAK_MINUTES ?= 3
CRASHES ?= 100
CRASH_ROUNDS ?= 20
FUZZ_SECONDS ?= 60
FUZZ_TARGET ?= request_head
BENCH ?=

# The compiler with what it was taught by watching the program at work. Names of functions depend on --target.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
TAUGHT = RUSTFLAGS="-Cprofile-use=$(CURDIR)/target/trained/profile" $(CARGO)
TAUGHT_INTO = --profile packaged --target $(HOST) --target-dir target/trained/used

.PHONY: help release run test lint conformance browser observe deploy-check deb soak crash fuzz bench bench-guard bench-disk bench-footprint bench-hit-ratio bench-misses bench-peers bench-smoke deps node clean

help:
	@echo "make run                          an edge in front of an embedded demo site (LISTEN=$(LISTEN), LISTEN_TLS=$(LISTEN_TLS) or empty)"
	@echo "make run ORIGIN=http://host:port  an edge in front of that origin"
	@echo "make test                         every test"
	@echo "make lint                         formatting, and clippy with warnings as errors"
	@echo "make conformance                  the public suite of HTTP caching rules (CONFORMANCE=\"--id=<test>\", \"--verbose\")"
	@echo "make observe                      a real Prometheus scrapes an edge; the dashboard and the alert rules are asked"
	@echo "make deploy-check                 every file of deploy/, each by the program that is going to read it"
	@echo "make release                      the program as packages have it: built with what was seen of it at work"
	@echo "make deb                          a Debian package of a release build, and what lintian says of it"
	@echo "make browser                      the demo site over TLS and HTTP/2, as curl, h2load and a headless Chromium see it, and hot reload behind brim dev"
	@echo "make crash                        crashes: of an edge under load, CRASHES=$(CRASHES) times, and of the disk tier, CRASH_ROUNDS=$(CRASH_ROUNDS) times as many as in the tests"
	@echo "make soak                         load, slow clients, resets, floods and purges at one time, SOAK_MINUTES=$(SOAK_MINUTES): does memory come back?"
	@echo "make fuzz                         cargo fuzz, FUZZ_SECONDS=$(FUZZ_SECONDS) of FUZZ_TARGET=$(FUZZ_TARGET)"
	@echo "make bench                        micro-benchmarks (BENCH=\"hits\": only these)"
	@echo "make bench-guard                  instructions and allocations of the usual requests, beside those written down (BENCH=\"--update\", \"--profile hit-http1\")"
	@echo "make bench-disk                   the disk tier beside its goals (BENCH=\"--full\", \"--only policy\", \"--dir DIR\")"
	@echo "make bench-footprint              memory of connections and objects, hits among many objects, start (BENCH=\"--full\", \"--only start\")"
	@echo "make bench-hit-ratio              hit ratios at equal bytes beside the policies of libCacheSim (BENCH=\"--quick\", \"--seed 7\", \"--only scans\")"
	@echo "make bench-misses                 misses per second beside nginx and HAProxy (BENCH=\"--rounds 9\", \"--only Brim\")"
	@echo "make bench-peers                  hits, misses, TLS and HTTP/2 beside nginx, HAProxy, Varnish and Traffic Server (BENCH=\"--quick\", \"--rows hit-1k\")"
	@echo "make bench-smoke                  do bench-peers, bench-footprint and bench-hit-ratio still work? Each in its smallest form"

run: deps
	$(CARGO) build --release
	@exec ./target/release/brim demo --listen $(LISTEN) $(if $(LISTEN_TLS),--https $(LISTEN_TLS)) $(if $(ORIGIN),--origin $(ORIGIN))

test: deps
	$(CARGO) test --lib --bins --tests

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

# Needs Node.js: the suite is written for it. Its judge is tested first.
conformance: deps conformance/node_modules/.package-lock.json
	$(CARGO) build
	@node conformance/verdict_test.mjs
	@node --no-warnings conformance/run.mjs --brim=target/debug/brim $(CONFORMANCE)

conformance/node_modules/.package-lock.json: conformance/package.json conformance/package-lock.json | node
	@cd conformance && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Everything that it needs is a package of the system, and a development server for `brim dev`.
browser: deps browser/node_modules/.package-lock.json
	@./deploy/install.sh "for make browser" curl nghttp2-client chromium-headless-shell
	$(CARGO) build
	@node --no-warnings browser/run.mjs --brim=target/debug/brim

# Debian's package of Prometheus has promtool, too. It may start a service, which is not the one that is asked.
observe: deps
	@./deploy/install.sh "for make observe" nodejs prometheus
	$(CARGO) build
	@node --no-warnings observe/run.mjs --brim=target/debug/brim

deploy-check: deps
	$(CARGO) build
	@BRIM=target/debug/brim ./deploy/check.sh

# Half an hour on two cores the first time: it is built, watched in two soaks, and built again.
release: target/trained/profile
	$(TAUGHT) build $(TAUGHT_INTO)
	@cp target/trained/used/$(HOST)/packaged/brim target/trained/brim
	@echo "target/trained/brim"

target/trained/profile: deploy/train.sh Cargo.lock Cargo.toml $(shell find .cargo src benches/soak -type f) | deps
	@CARGO="$(CARGO)" ./deploy/train.sh

# Needs cargo-deb.
deb: release
	@command -v cargo-deb >/dev/null || $(CARGO) install cargo-deb --locked
	@BRIM=target/trained/brim ./deploy/debian/build.sh
browser/node_modules/.package-lock.json: browser/package.json browser/package-lock.json | node
	@cd browser && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A dependency of Pingora (zlib-ng) is built with cmake.
deps:
	@./deploy/install.sh "to build Brim" cmake

node:
	@./deploy/install.sh "for make conformance and make browser" nodejs npm

# More of what `make test` does with seeds: a seed of its own each time, unless one is given.
crash: deps
	BRIM_SEED=$${BRIM_SEED:-$$(date +%s)} BRIM_CRASHES=$(CRASHES) $(CARGO) test --test edge crashes -- --nocapture
	BRIM_SEED=$${BRIM_SEED:-$$(date +%s)} BRIM_CRASH_ROUNDS=$(CRASH_ROUNDS) $(CARGO) test --release --test store -- --nocapture

# Needs cargo-fuzz; the same entries run for a bounded time inside `make test`.
fuzz: deps
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	@mkdir -p fuzz/corpus/$(FUZZ_TARGET)
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $(FUZZ_TARGET) corpus/$(FUZZ_TARGET) seeds/$(FUZZ_TARGET) -- -max_total_time=$(FUZZ_SECONDS)

bench: deps
	$(CARGO) bench --bench micro -- $(BENCH)

# On Linux. Fails where an operation takes more than benches/guard/expected.toml says.
bench-guard: deps
	@./deploy/install.sh "for make bench-guard" valgrind
	$(CARGO) bench --bench guard -- $(BENCH)

# A few minutes, and up to 3 GB below target/; with --full up to 10.
bench-disk: deps
	$(CARGO) bench --bench disk -- $(BENCH)

# Ten minutes, on Linux, 2 GB of memory and of the disk below target/; with --full the better part of an hour and ten
# times as much.
bench-footprint: deps
	$(CARGO) bench --bench footprint -- $(BENCH)
# Needs Python with venv; the simulator is put below target/.
bench-hit-ratio: deps target/hit-ratio/installed
	$(CARGO) bench --bench hit_ratio -- $(BENCH)

target/hit-ratio/installed: benches/hit_ratio/requirements.txt
	python3 -m venv target/hit-ratio
	target/hit-ratio/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Three minutes, on Linux. It says which of the two it has to do without; their packages may start a service,
# which is not the one that is measured.
bench-misses: deps
	-@PATH="$$PATH:/usr/sbin" ./deploy/install.sh "for make bench-misses" nginx haproxy
	$(CARGO) bench --bench misses -- $(BENCH)

# 25 minutes and those of `make release`, on Linux, and 4 with BENCH="--quick"; a table and a plot in benches/results/.
# It says whom it has to do without; their packages may start services, which are not those that are measured.
bench-peers: target/trained/profile
	-@for package in nginx haproxy varnish trafficserver wrk nghttp2-client; do \
		PATH="$$PATH:/usr/sbin" ./deploy/install.sh "for make bench-peers" $$package; done
	$(TAUGHT) bench $(TAUGHT_INTO) --bench peers -- --built "as \`make release\` does" $(BENCH)

# Three minutes, on Linux; nothing is written into benches/results/. It is built as the tests are, which costs no
# release build: figures mean nothing here, and goals do not count. The simulator takes part where it is installed.
bench-smoke: deps
	@PATH="$$PATH:/usr/sbin" ./deploy/install.sh "for make bench-smoke" nginx wrk nghttp2-client
	$(CARGO) bench --profile dev --bench peers -- --strict --only nginx --rounds 1 --time 2 --logs on \
		--rows hit-1k,tls-1k,h2-1k,miss-1k --results target/bench-smoke
	$(CARGO) bench --profile dev --bench footprint -- --connections 100 --objects 1000 --filled 4 --rounds 1 \
		--known 2000 --known-in-memory 2000 --starts 1 --results target/bench-smoke/footprint.md
	$(CARGO) bench --profile dev --bench hit_ratio -- --quick --only "Zipf 0.7" \
		$(if $(wildcard target/hit-ratio/installed),,--alone)

# Some minutes, on Linux; everything stays on this machine. It fails where memory or descriptors do not
# come back, or where somebody who behaves is not answered.
soak: deps
	$(CARGO) bench --bench soak -- --minutes $(SOAK_MINUTES)

clean:
	$(CARGO) clean
