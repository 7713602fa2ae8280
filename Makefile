# make help lists what there is. CI runs .ci/run, which calls `make check test`.

GO ?= go
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# A release is named by its tag; other builds name their commit by themselves. Why the second line: in a
# checkout that git refuses to read (another owner), stamping the commit would fail the build.
RELEASE := $(shell git describe --tags --exact-match 2>/dev/null)
BUILD := -ldflags '-X main.release=$(RELEASE)' $(shell git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)
TOOL := $(GO) tool -modfile=tools/go.mod

# How long each fuzz target runs under `make fuzz` (two times: of the log and the parser, and of the others), and
# how long `make soak` goes on.
FUZZTIME ?= 20s
SOAKTIME ?= 10m
QUERIES ?= 1000
# Runs per measurement of `make bench`; the median counts.
RUNS ?= 5
# What has tests against a Kafka broker.
KAFKATESTS = ./internal/kafkatest ./sources/kafka ./sinks/kafka

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: needs-compiler ## build bin/sluice
	$(GO) build $(BUILD) -o bin/sluice ./cmd/sluice

.PHONY: check
check: needs-compiler ## gofmt, go vet, staticcheck, import rules, shell syntax
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not formatted; run gofmt -w on:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) test -count=1 ./internal/layers
	@for f in .ci/run scripts/*.sh testdata/*.sh; do bash -n $$f; done

# Why -count=1: some tests build the binary and run it, which go's cache of results does not see.
.PHONY: test
test: needs-compiler needs-postgres ## run every test; installs Debian's postgresql if there is none
	@echo "skipped: the Kafka tests against real brokers, which want Java and Maven: make test-kafka runs them; here, a broker in the process is used"
	$(GO) test -count=1 -timeout 70m ./...

# Why it names the tests and skips the fake broker's: they run in `make test`. Why -p 1: each package has three brokers at a time.
.PHONY: test-kafka
test-kafka: needs-compiler needs-postgres needs-java ## run the Kafka tests against real brokers, fetched with Maven into .cache/kafka
	export SLUICE_KAFKA_LIB=$$(scripts/kafka.sh fetch); [ -n "$$SLUICE_KAFKA_LIB" ]; \
	$(GO) test -count=1 -timeout 30m -p 1 -skip '/^fake$$' $(KAFKATESTS); \
	$(GO) test -count=1 -timeout 30m -run 'TestScripts/pg_kafka' ./cmd/sluice

.PHONY: test-race
test-race: needs-compiler needs-postgres ## run every test under the race detector
	$(GO) test -race -timeout 70m ./...

.PHONY: fuzz
fuzz: needs-compiler ## fuzz each target for FUZZTIME (default 20s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: needs-compiler needs-postgres ## the whole crash matrices, and SIGKILL at random instants for SOAKTIME (default 10m), over all of queries/, 500 times at least
	SLUICE_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 72h -run '^TestSoak|Crash(Matrix|es|InRecovery)$$|^TestFileSizeLimit$$' -v ./internal/faulttest

.PHONY: soak-embedded
soak-embedded: build needs-postgres ## the same with the embedded PostgreSQL and the demo's pipeline
	scripts/soak.sh $(SOAKTIME)

.PHONY: soak-queries
soak-queries: needs-compiler ## compare QUERIES random queries with one-shot DuckDB (default 1000)
	SLUICE_SOAK_QUERIES=$(QUERIES) $(GO) test -count=1 -timeout 24h -run '^TestRandom(Queries|Changes)$$' -v ./internal/oracle

.PHONY: bench
bench: build needs-postgres ## measure against one-shot DuckDB, RUNS times (default 5)
	flights=$$(testdata/flights.sh || true); $(GO) run $(BUILD) ./bench -runs $(RUNS) -sluice bin/sluice -flights "$$flights"

.PHONY: demo
demo: build needs-postgres ## real flights into Postgres, killed half-way, resumed, proved
	@scripts/demo.sh

.PHONY: clean
clean: ## remove what the targets above made, downloads included
	rm -rf bin .cache

.PHONY: needs-compiler needs-postgres needs-java
needs-compiler:
	@scripts/needs.sh compiler
needs-postgres:
	@scripts/needs.sh postgres
needs-java:
	@scripts/needs.sh java
