# Everything that is done with Egret. Each target first makes the environment it needs: Python >= 3.11 and make suffice.
#
#   make serve       the whole product on this machine             DELIVER=real  FRESH=1
#   make egret       the command line                              ARGS='--local account list'
#   make test        unit, integration, conformance, fault and end-to-end tests    ARGS='-k name'
#   make compiled    the engine compiled as in the container, and its tests on that     ARGS='-k name'
#   make peers       the compiled engine against a real Postfix, nsd and unbound; others read our reports (Debian, as root)
#   make lint        ruff, mypy, import-linter, cfn-lint with our own rules, portability
#   make fmt         format, and fix what can be fixed
#   make build       sam build and sam validate, without Docker
#   make deploy      build, then sam deploy; the first one asks    GUIDED=1 asks again  ARGS='--config-env prod'
#   make bench       cost, growth, speed, memory
#   make bench-egress  the engine beside others (Debian, as root)  ARGS='--count 100000'
#   make simulate    crash the path of a message at every step     SEEDS=20000
#   make kill        kill each process while mail is sent          SENDS=2000
#   make fuzz        random input for every parser                 N=20000
#   make bounces     recognise the mails of a folder               BOUNCES=folder  OUT=.bounces/predicted.jsonl
#   make moto        a moto server on 127.0.0.1                    PORT=5000
#   make lock        requirements/*.in to hashed *.txt             UPGRADE=1
#   make clean       remove environments, caches and builds
#
# PYTHON=python3.13 chooses the interpreter. All paths are relative: the checkout may lie in a folder with spaces.

PYTHON ?= python3
SEEDS ?= 20000
N ?= 20000
SENDS ?= 2000
PORT ?= 5000
OUT ?= .bounces/predicted.jsonl
ARGS ?=

ifeq ($(OS),Windows_NT)
BIN := Scripts
SEP := ;
else
BIN := bin
SEP := :
endif

PY := .venv/$(BIN)/python
UV := .venv/$(BIN)/uv
ROOT := $(CURDIR)
PATHS := $(ROOT)$(SEP)$(ROOT)/layers/common$(SEP)$(ROOT)/egress$(SEP)$(ROOT)/local$(SEP)$(ROOT)/cli
RUN := PYTHONPATH="$(PATHS)" $(PY)
# What runs until it is ended takes the shell's place, so that a signal that make passes on reaches it.
SERVE := exec env $(RUN)
# The container's engine: what is compiled comes first.
COMPILED = PYTHONPATH="$(ROOT)/$(1)$(SEP)$(PATHS)"
ENGINE := $(wildcard egress/*.py egress/egret_egress/* layers/common/egret/*.py layers/common/egret/*/*.py)
# Built with profile-guided optimisation, as the container's interpreter is; one from source often is not.
BENCH_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) $(PYTHON))
CODE := $(wildcard layers/common/egret egress/egret_egress egress/compile_engine.py local/egret_local cli/egret_cli functions bench lint tests)
SUITES := $(wildcard tests/unit tests/integration tests/conformance tests/fault tests/e2e)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve egret test compiled peers lint fmt build deploy bench bench-egress simulate kill fuzz bounces moto lock clean

help:
	@sed -n 's/^#   //p' Makefile

serve: .venv/.ready .venv-emulator/.ready
	@$(SERVE) -m egret_local $(ARGS)

egret: .venv/.ready
	@$(RUN) -m egret_cli $(ARGS)

test: .venv/.ready .venv-emulator/.ready
	@$(RUN) -m pytest --no-header -m "not peers" $(SUITES) $(ARGS)

compiled: .compiled/.ready .venv-emulator/.ready
	@$(call COMPILED,.compiled) $(PY) -m pytest --no-header -m "not peers" -o pythonpath=".compiled . local cli" \
	  -k egress $(SUITES) $(ARGS)

peers: .compiled/.ready .venv-emulator/.ready .venv-judges/.ready
	@sh tests/peers/install.sh
	@$(call COMPILED,.compiled) $(PY) -m pytest --no-header -m peers -o pythonpath=".compiled . local cli" \
	  tests/peers $(ARGS)

lint: .venv/.ready
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --quiet --check .
	$(PY) -m mypy --no-error-summary $(CODE)
	@echo lint-imports
	@$(RUN) -c "from importlinter.cli import lint_imports_command as main; main()" --no-logo
	$(PY) lint/portability.py
	@$(if $(wildcard template.yaml),echo cfn-lint; $(RUN) -c "import sys; from cfnlint.runner import main; sys.exit(main())" \
	  --append-rules lint/rules --template template.yaml)

fmt: .venv/.ready
	$(PY) -m ruff check --fix --exit-zero --quiet .
	$(PY) -m ruff format .

# The functions' and the layer's makefile builds find uv on the PATH.
build: .venv-sam/.ready
	@export SAM_CLI_TELEMETRY=0 MAKEFLAGS= PATH="$(ROOT)/.venv-sam/$(BIN)$(SEP)$$PATH" && \
	  sam build --build-in-source $(ARGS) && sam validate --lint

# Answers that sam saved are not asked for again: `--guided` takes them, and not the stack, for what is wanted.
DEPLOY := /^\[default\.deploy\.parameters\]/,/^\[/p
GUIDED ?= $(if $(ARGS),,$(if $(shell sed -n '$(DEPLOY)' samconfig.toml | grep '^ *parameter_overrides'),,1))

deploy: build
	@SAM_CLI_TELEMETRY=0 .venv-sam/$(BIN)/sam deploy $(ARGS) $(if $(GUIDED),--guided)

bench: .venv/.ready .venv-emulator/.ready
	@$(RUN) -m bench $(ARGS)

bench-egress: .venv-bench/.ready .venv-emulator/.ready
	@sh tests/peers/install.sh
	@$(call COMPILED,.venv-bench/engine) .venv-bench/$(BIN)/python -m bench.egress $(ARGS)

simulate: .venv/.ready
	@$(RUN) tests/fault/simulate.py --seeds $(SEEDS) $(ARGS)

kill: .venv/.ready .venv-emulator/.ready
	@$(RUN) tests/fault/kill_processes.py --sends $(SENDS) $(ARGS)
	@$(RUN) tests/fault/end_egress.py

fuzz: .venv/.ready
	@$(RUN) tests/fuzz.py --n $(N) $(ARGS)

bounces: .venv/.ready
	@$(RUN) tests/bounces.py "$(BOUNCES)" --out "$(OUT)"

moto: .venv/.ready
	@$(SERVE) -m tests.emulators --port $(PORT)

# --- environments: each is made when first needed, and synced when its requirements changed ---

# $(call environment,folder): an empty virtual environment, or a sentence that says what is missing.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Egret needs Python 3.11 or later, and '$(PYTHON)' is not: name another one, e.g. make PYTHON=python3.13" >&2; exit 1; }
	@test -x $(1)/$(BIN)/python || { echo "making $(1)"; $(PYTHON) -m venv $(1); } || { \
	  rm -rf $(1); echo "'$(PYTHON) -m venv' failed (on Debian: apt-get install python3-venv)" >&2; exit 1; }
endef

.venv/.uv: requirements/uv.txt
	$(call environment,.venv)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.ready: .venv/.uv requirements/dev.txt
	@$(UV) pip sync --quiet --require-hashes --python $(PY) requirements/dev.txt
	@touch $@

.venv-emulator/.ready: .venv/.uv requirements/emulator.txt
	$(call environment,.venv-emulator)
	@$(UV) pip sync --quiet --require-hashes --python .venv-emulator/$(BIN)/python requirements/emulator.txt
	@touch $@

.venv-judges/.ready: .venv/.uv requirements/judges.txt
	$(call environment,.venv-judges)
	@$(UV) pip sync --quiet --require-hashes --python .venv-judges/$(BIN)/python requirements/judges.txt
	@touch $@

.compiled/.ready: .venv/.ready $(ENGINE)
	@sh tests/peers/install.sh cc:gcc
	@$(PY) egress/compile_engine.py .compiled
	@touch $@

.venv-bench/.ready: .venv/.uv requirements/dev.txt $(ENGINE)
	@sh tests/peers/install.sh cc:gcc $(if $(filter /usr/bin/%,$(BENCH_PYTHON)),python3-config:python3-dev)
	@test -x .venv-bench/$(BIN)/python || $(UV) venv --quiet --python $(BENCH_PYTHON) .venv-bench
	@$(UV) pip sync --quiet --require-hashes --python .venv-bench/$(BIN)/python requirements/dev.txt
	@.venv-bench/$(BIN)/python egress/compile_engine.py .venv-bench/engine
	@touch $@

.venv-sam/.ready: .venv/.uv requirements/sam.txt
	$(call environment,.venv-sam)
	@$(UV) pip sync --quiet --require-hashes --python .venv-sam/$(BIN)/python requirements/sam.txt
	@touch $@

# The committed files name no registry: whoever installs uses the one that is configured.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

lock: .venv/.uv
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/runtime.in -o requirements/runtime.txt
	$(COMPILE) requirements/egress.in -c requirements/runtime.txt -o requirements/egress.txt
	$(COMPILE) requirements/compile.in -c requirements/dev.txt -o requirements/compile.txt
	$(COMPILE) requirements/dev.in -c requirements/egress.txt -c requirements/uv.txt -o requirements/dev.txt
	$(COMPILE) requirements/emulator.in -o requirements/emulator.txt
	$(COMPILE) requirements/judges.in -o requirements/judges.txt
	$(COMPILE) requirements/sam.in -c requirements/uv.txt -o requirements/sam.txt

clean:
	rm -rf .venv .venv-bench .venv-emulator .venv-judges .venv-sam .compiled .bounces .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
