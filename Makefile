# make test runs everything. It fetches what the tests need into .tools, below this
# folder; only the integration tests need more of the machine: docker, and Chromium.

GO ?= go
TOOLS := $(CURDIR)/.tools
STATICCHECK_VERSION := v0.8.2
STATICCHECK := $(TOOLS)/bin/staticcheck-$(STATICCHECK_VERSION)

CORE := ./sse/... ./backplane/... ./broker/... ./client/... ./examples/...
BUSES := ./redisbus/... ./natsbus/...

.PHONY: test lint core buses servers integration fuzz bench

test: lint core buses integration
	@echo "make test: all passed"

# lint checks the form: gofmt, vet, staticcheck.
lint: $(STATICCHECK)
	@echo "make: checking format, vet and staticcheck"
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt is needed for:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) ./...
	cd integration && $(GO) vet ./... && $(STATICCHECK) ./...

# core tests what needs nothing but Go.
core:
	@echo "make: testing the core with the race detector"
	$(GO) test -race $(CORE)

# buses tests the drivers against real servers, one package at a time because
# they measure time.
buses: servers
	@echo "make: testing the buses against real servers"
	$(GO) test -race -p 1 -timeout 20m $(BUSES)

# integration tests containers, a load balancer, a browser and chaos. It needs docker.
integration:
	@echo "make: testing containers, a load balancer, a browser and chaos"
	./integration/run

# servers fetches the servers that buses needs.
servers:
	@echo "make: fetching the servers that the tests need, where they are missing"
	./scripts/redis-servers
	./scripts/nats-server

# fuzz runs each fuzz test for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	@set -e; for pkg in $$($(GO) list $(CORE)); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "make: fuzzing $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./sse/... ./backplane/... ./broker/... ./client/...

$(STATICCHECK):
	@echo "make: building staticcheck $(STATICCHECK_VERSION) into .tools"
	@mkdir -p $(TOOLS)/bin
	@GOBIN=$(TOOLS)/bin GOFLAGS=-mod=mod GOWORK=off $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv $(TOOLS)/bin/staticcheck $@
