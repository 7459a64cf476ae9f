# 'make' builds the seven commands into bin/; 'make help' lists what else there is.

# Every directory of cmd/ is a command, except the multi-call one of 'make box'.
TOOLS := $(filter-out staves,$(notdir $(wildcard cmd/*)))

# -E names the entry point that runs before the Go runtime: see lib/entry.
LDFLAGS := -s -w -E staves/lib/entry.start
# The overlay is a Go runtime that starts no threads: see scripts/goruntime.
BUILD    = CGO_ENABLED=0 go build -overlay "$$(scripts/goruntime $B/.runtime)" -trimpath -ldflags '$(LDFLAGS)'
TOOL    := go tool -modfile=tools/go.mod

PREFIX  ?= /usr/local
DESTDIR ?=
# B is where things are built.
B       := bin

# What a user gives as CMD reaches the container as it was typed: make must not expand
# the dollar signs in it.
export STAVES_CMD := $(value CMD)
unexport CMD

.DEFAULT_GOAL := build
.PHONY: build help run test soak scale vm check bench bench-check bench-keep docs box install uninstall deb dist clean

build: ## build the seven commands into bin/ (GOARCH=arm64 builds them for another machine)
	@mkdir -p $B
	$(BUILD) -o $B/ $(TOOLS:%=./cmd/%)
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $B/libexec/ ./libexec/...
	@scripts/compat $B/compat ../
	@GOOS= GOARCH= CGO_ENABLED=0 go run ./docs/gen completion $B/share

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

run: build ## open a shell in a container over this system's own files, copy on write; CMD='...' runs that instead
	@scripts/run

test: build ## run every test; REQUIRE=all makes a skipped one a failure
	@scripts/test

soak: build ## containers by the thousand, killed at any instant, short of everything: minutes
	@scripts/soak

scale: build ## up to a thousand containers alive at once: memory of each, starts and ends of the next
	@scripts/scale

vm: build ## run the tests in virtual machines: other kernels, each layout of cgroups
	@VM=all scripts/test -timeout=60m ./test/vm

check: ## vet, staticcheck, gofumpt, shellcheck, shfmt, and the rules of the house
	@scripts/check

bench: build ## measure against what people use now, and against C; ARGS='-only TEXT'
	@scripts/bench $(ARGS)

bench-check: build ## fail where a ratio, or a count of instructions, is worse than the one kept
	@scripts/bench -counts -check test/bench/counts.json -margin 0.1
	@scripts/bench -n 60 -check test/bench/ratios.json -margin 0.3

bench-keep: build ## keep the ratios and counts of this machine for bench-check, and draw docs/bench.svg
	@scripts/bench -counts -keep test/bench/counts.json
	@scripts/bench -n 100 -keep test/bench/ratios.json -json docs/bench.json -svg docs/bench.svg >docs/bench.txt
	@cat docs/bench.txt

docs: ## write the options into the manuals, as the programs have them; draw the pictures
	@go run ./docs/gen docs

box: ## build all seven as one file with seven links into bin/box/
	@mkdir -p bin/box
	$(BUILD) -o bin/box/ ./cmd/staves
	@for t in $(TOOLS); do ln -sf staves bin/box/$$t; done
	@scripts/compat bin/box/compat ../

# Whoever installs is often root, without Go: what is built is installed as it is.
install: $(if $(filter-out $(wildcard $B/*),$(TOOLS:%=$B/%)),build) ## install what is built into PREFIX (/usr/local), under DESTDIR
	@scripts/install $B '$(PREFIX)' '$(DESTDIR)'

uninstall: ## remove what 'make install' put there
	@scripts/install -r '$(PREFIX)' '$(DESTDIR)'

deb: ## build a Debian package into dist/
	@scripts/deb

dist: ## build archives for amd64 and arm64, and their checksums, into dist/
	@scripts/dist

clean: ## remove what was built
	rm -rf bin dist
