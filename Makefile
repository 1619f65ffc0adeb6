# Everything that a newcomer and CI need. `make help` lists it.

ORIGIN ?=
LISTEN ?= 127.0.0.1:8080
CARGO ?= cargo
CONFORMANCE ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGET ?= request_head

.PHONY: help run test lint conformance fuzz bench deps node clean

help:
	@echo "make run                          an edge in front of an embedded demo site (LISTEN=$(LISTEN))"
	@echo "make run ORIGIN=http://host:port  an edge in front of that origin"
	@echo "make test                         every test"
	@echo "make lint                         formatting, and clippy with warnings as errors"
	@echo "make conformance                  the public suite of HTTP caching rules (CONFORMANCE=\"--id=<test>\", \"--verbose\")"
	@echo "make fuzz                         cargo fuzz, FUZZ_SECONDS=$(FUZZ_SECONDS) of FUZZ_TARGET=$(FUZZ_TARGET)"
	@echo "make bench                        micro-benchmarks"

run: deps
	$(CARGO) build --release
	@exec ./target/release/brim demo --listen $(LISTEN) $(if $(ORIGIN),--origin $(ORIGIN))

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

# A dependency of Pingora (zlib-ng) is built with cmake.
deps:
	@./deploy/install.sh "to build Brim" cmake

node:
	@./deploy/install.sh "for make conformance" nodejs npm

# Needs cargo-fuzz; the same entries run for a bounded time inside `make test`.
fuzz: deps
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	@mkdir -p fuzz/corpus/$(FUZZ_TARGET)
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $(FUZZ_TARGET) corpus/$(FUZZ_TARGET) seeds/$(FUZZ_TARGET) -- -max_total_time=$(FUZZ_SECONDS)

bench: deps
	$(CARGO) bench

clean:
	$(CARGO) clean
