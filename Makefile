# Everything a contributor runs. `make` alone lists the targets; `make run` and `make test` are all a user needs.
# Installation steps leave stamps in .venv, so that a second `make run` starts at once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
CACHE  := .cache
PIP    := $(BIN)/python -m pip --disable-pip-version-check

GRPCURL_VERSION  := v1.9.4
CLARIFAI_VERSION := 12.6.0
BUF              := tools/buf/node_modules/.bin/buf
CLARIFAI_VENV    := $(CACHE)/venvs/clarifai-grpc-$(CLARIFAI_VERSION)
# Generations of published clients, each with the versions that it still runs with.
CLARIFAI_JSON    := $(CACHE)/venvs/clarifai-json-$(CLARIFAI_VERSION)
CLARIFAI_SDK     := $(CACHE)/venvs/clarifai-12.5.0
CLARIFAI_OLD     := $(CACHE)/venvs/clarifai-2.6.2
CLARIFAI_JS      := $(CACHE)/node/clarifai-2.9.1
CLARIFAI_NODE    := $(CACHE)/node/nodejs-grpc-11.11.0
SCHEMATHESIS     := $(CACHE)/venvs/schemathesis-4.32.5

# What `make trust` runs, one after the other.
LONG_RUNS := crash powerloss powercuts damage overload soak fuzz fuzz-openapi

# Given on the command line: make run ARGS="--data-dir /srv/postil", make test ARGS="-k search -x"
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test exactness crash powerloss powercuts damage overload soak fuzz fuzz-pictures fuzz-openapi trust verify fix protos bench bench-million bench-models bench-peers clean install \
        verify-ruff verify-mypy verify-protos verify-docs verify-shell fix-ruff fix-protos fix-docs grpcurl published-clients

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- use it ---------------------------------------------------------------------------------------------------------

run: $(STAMP)-server ## install what is missing, then serve on 127.0.0.1:18080
	@exec $(BIN)/postil serve $(ARGS)

demo: $(STAMP)-demo ## start a server, post real pictures, label, search, show what was found, stop
	@exec $(BIN)/postil demo $(ARGS)

# --- work on it -----------------------------------------------------------------------------------------------------

install: $(STAMP)-server $(STAMP)-test $(STAMP)-bench $(STAMP)-verify ## install everything a contributor needs

test: $(STAMP)-test ## run the tests
	$(BIN)/python -m pytest $(ARGS)

exactness: $(STAMP)-test ## compare 100,000 random searches with a naive scan (ARGS="1000 7": how many, seed)
	PYTHONPATH=tests $(BIN)/python -m support.exactness $(or $(ARGS),100000)

crash: $(STAMP)-test ## kill servers under load, 1,000 times, and look for what is lost (ARGS="--kills 50")
	PYTHONPATH=tests $(BIN)/python -m crash $(ARGS)

powerloss: $(STAMP)-test ## cut the power 10,000 times, in a recording of what the disk was told (ARGS="--images 500")
	PYTHONPATH=tests $(BIN)/python -m powerloss $(ARGS)

powercuts: $(STAMP)-test ## cut the power below whole servers, 300 times, on a FUSE file system (ARGS="--cuts 20"; needs fuse3)
	PYTHONPATH=tests $(BIN)/python -m powercuts $(ARGS)

overload: $(STAMP)-test ## ten times what the server can do, for ten minutes (ARGS="--seconds 40")
	PYTHONPATH=tests $(BIN)/python -m overload $(ARGS)

soak: $(STAMP)-test ## an hour of everyday work: memory, file handles and log must not grow (ARGS="--minutes 3")
	PYTHONPATH=tests $(BIN)/python -m soak $(ARGS)

fuzz: $(STAMP)-test ## ten million random calls and pictures, random histories beside a model (ARGS="--calls 100000")
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

damage: $(STAMP)-test ## damage 10,000 index files and 1,000 database pages, and look who believes them (ARGS="500 50")
	PYTHONPATH=tests $(BIN)/python -m damage $(ARGS)

fuzz-pictures: $(STAMP)-fuzz ## broken pictures chosen by coverage, until stopped (ARGS="-max_total_time=600")
	@mkdir -p $(CACHE)/pictures
	PYTHONPATH=tests $(BIN)/python -m fuzz.guided $(ARGS) $(CACHE)/pictures

fuzz-openapi: $(STAMP)-test $(SCHEMATHESIS)/.stamp ## what the OpenAPI document says, kept and broken, in every operation (ARGS="--examples 5 --depth 2")
	PYTHONPATH=tests $(BIN)/python -m fuzz.openapi $(ARGS)

trust: ## the long forms of what should lose data or bring a server down, hours; writes docs/trust.md
	@for run in $(LONG_RUNS); do $(MAKE) $$run ARGS= || exit 1; done

verify: verify-ruff verify-mypy verify-protos verify-docs verify-shell ## every check that is not a test

fix: fix-ruff fix-protos fix-docs ## repair what can be repaired

verify-ruff: $(STAMP)-verify
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fix-ruff: $(STAMP)-verify
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

verify-mypy: $(STAMP)-verify $(STAMP)-test $(STAMP)-bench
	$(BIN)/mypy

verify-protos: $(STAMP)-verify $(BUF)
	$(BUF) lint protos
	$(BUF) format --diff --exit-code protos --exclude-path protos/google
	$(BUF) breaking protos --against protos/baseline.binpb
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/openapi.py --check

fix-protos: $(BUF)
	$(BUF) format -w protos --exclude-path protos/google

verify-docs: $(STAMP)-verify
	$(BIN)/python tools/docs.py --check
	$(BIN)/python tools/api.py --check

fix-docs: $(STAMP)-verify
	$(BIN)/python tools/docs.py
	$(BIN)/python tools/api.py

verify-shell:
	@for script in tools/*.sh .ci/run clients/shell/*.sh; do bash -n $$script || exit 1; done

protos: $(STAMP)-verify ## regenerate the stubs in server/postil/v1 and the OpenAPI document from protos/
	$(BIN)/python tools/protos.py $(ARGS)
	$(BIN)/python tools/openapi.py

bench: $(STAMP)-bench ## measure speed and memory against the floor; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)

bench-million: $(STAMP)-bench ## the same searches among 1,000,000 vectors of 512 numbers: half an hour, 8 GiB
	$(BIN)/python -m benchmarks.filters --rows 1000000 --at 0 $(ARGS)

bench-models: $(STAMP)-bench ## measure predictions beside onnxruntime alone
	$(BIN)/python -m benchmarks.models $(ARGS)
	$(BIN)/python -m benchmarks.models_digits

bench-feedback: $(STAMP)-bench ## what feedback does for searches, on digits; writes the table of docs/feedback.md
	$(BIN)/python -m benchmarks.feedback $(ARGS)

bench-peers: $(STAMP)-bench ## the same load on other systems, those that are installed
	$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## remove the environment and every cache; data directories stay
	rm -rf $(VENV) $(CACHE) tools/buf/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find server clients tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# --- installation ---------------------------------------------------------------------------------------------------

$(STAMP)-venv: tools/prereqs.sh
	@bash tools/prereqs.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade 'pip>=25.1'  # dependency groups
	@touch $@

$(STAMP)-server: $(STAMP)-venv pyproject.toml
	@echo "installing Postil into $(VENV) (hnswlib is compiled: about a minute)"
	@$(PIP) install --quiet --editable '.[server]'
	@touch $@

$(STAMP)-demo $(STAMP)-test $(STAMP)-bench $(STAMP)-verify $(STAMP)-fuzz: $(STAMP)-%: $(STAMP)-server
	@echo "installing what $* needs"
	@$(PIP) install --quiet --editable '.[server]' --group $*  # together, so that versions fit together
	@touch $@

# --- other people's tools, pinned -----------------------------------------------------------------------------------

$(BUF): tools/buf/package-lock.json
	@command -v npm >/dev/null || { echo "buf comes from npm: apt-get install -y npm (brew install node)" >&2; exit 1; }
	@npm ci --silent --no-audit --no-fund --prefix tools/buf
	@touch $@

grpcurl: $(CACHE)/bin/grpcurl-$(GRPCURL_VERSION) ## build the grpcurl that the tests use (needs go)

$(CACHE)/bin/grpcurl-$(GRPCURL_VERSION):
	@command -v go >/dev/null || { echo "grpcurl is built with go: apt-get install -y golang (brew install go)" >&2; exit 1; }
	GOBIN=$(abspath $(CACHE)/bin) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)
	@cp $(CACHE)/bin/grpcurl $@

published-clients: $(CLARIFAI_VENV)/.stamp $(CLARIFAI_JSON)/.stamp $(CLARIFAI_SDK)/.stamp $(CLARIFAI_OLD)/.stamp $(CLARIFAI_JS)/.stamp $(CLARIFAI_NODE)/.stamp $(SCHEMATHESIS)/.stamp ## install other people's clients, each in its own environment, for the tests

$(CLARIFAI_VENV)/.stamp: WANTED := clarifai-grpc==$(CLARIFAI_VERSION)
$(CLARIFAI_JSON)/.stamp: WANTED := clarifai-grpc==$(CLARIFAI_VERSION) 'protobuf>=6.33,<7' requests
$(CLARIFAI_SDK)/.stamp: WANTED := clarifai==12.5.0
$(CLARIFAI_OLD)/.stamp: WANTED := clarifai==2.6.2 protobuf==3.17.3 googleapis-common-protos==1.53.0

$(SCHEMATHESIS)/.stamp: WANTED := schemathesis==4.32.5

$(CLARIFAI_VENV)/.stamp $(CLARIFAI_JSON)/.stamp $(CLARIFAI_SDK)/.stamp $(CLARIFAI_OLD)/.stamp $(SCHEMATHESIS)/.stamp:
	@bash tools/prereqs.sh $(PYTHON)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet $(WANTED)
	@touch $@

$(CLARIFAI_JS)/.stamp: WANTED := clarifai@2.9.1
$(CLARIFAI_NODE)/.stamp: WANTED := clarifai-nodejs-grpc@11.11.0

$(CLARIFAI_JS)/.stamp $(CLARIFAI_NODE)/.stamp:
	@command -v npm >/dev/null || { echo "this client comes from npm: apt-get install -y npm (brew install node)" >&2; exit 1; }
	@mkdir -p $(@D)
	@npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(@D) $(WANTED)
	@touch $@
