# pyrunc: what a newcomer needs. `sudo make run` and `sudo make test` do all set-up themselves;
# each works again at once, and without a network, when everything is in place.

PREFIX ?= /usr/local
# The interpreter is Debian's own by its full name: one that a version manager puts first in
# PATH may be out of reach for the engines that call pyrunc.
PYTHON ?= /usr/bin/python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
ATTACK_ARGS ?=
LIBRARIES ?=
RELEASE_ARGS ?=
PACKAGING_ARGS ?=
FAULTS_ARGS ?=
SOAK_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
EMBEDDED := build/embedded/pyrunc
BUNDLES := hello limits userns terminal

.PHONY: run test test-all attack faults soak lint bench conformance test-engines setup build embedded bundles install uninstall release clean
.PHONY: deb docs test-packaging

run: embedded bundles
	@$(PYTHON) tools/run_hello.py $(EMBEDDED)

test: setup-test embedded bundles
	@PYTEST_ARGS='$(PYTEST_ARGS)' tools/test

test-all: setup-all embedded bundles
	@PYTEST_ARGS='$(PYTEST_ARGS)' tools/test all

faults: setup-test embedded
	@cd tests && unshare --mount --propagation private ../$(BIN)/python -m faults.faults $(FAULTS_ARGS)

soak: setup-test embedded
	@cd tests && unshare --mount --propagation private ../$(BIN)/python -m faults.soak $(SOAK_ARGS)

lint: setup-test build
	@tools/lint

bench: embedded
	@$(BIN)/python tools/bench.py $(BENCH_ARGS)

conformance: setup build
	@tests/conformance/run

attack: setup-test build
	@cd tests && ../$(BIN)/python -m security.attack.attack $(ATTACK_ARGS)

test-engines: setup-all build
	@tests/engines/run

setup:
	@PYTHON='$(PYTHON)' tools/setup run

setup-test setup-all: setup-%:
	@PYTHON='$(PYTHON)' tools/setup $*
.PHONY: setup-test setup-all

build: setup
	@$(BIN)/python tools/build_parts.py --launcher $(BIN)/pyrunc

# The same as an executable with CPython in it; tools/build_embedded.py knows if it is up to date.
embedded: build
	@$(BIN)/python tools/build_embedded.py $(EMBEDDED) --site '$(CURDIR)'

bundles: setup
	@$(PYTHON) tools/make_rootfs.py $(BUNDLES:%=bundles/%/rootfs)

# Each security check taken out, one at a time: a test has to notice.
mutate: setup-test build
	@cd tests && ../$(BIN)/python -m mutate.mutate $(MUTATE_ARGS)
.PHONY: mutate

# LIBRARIES=system: without an environment, for packages, whose libraries are the distribution's.
ifeq ($(LIBRARIES),system)
install:
	@LIBRARIES=system $(PYTHON) tools/install.py install '$(DESTDIR)' '$(PREFIX)'
else
install: setup
	@$(BIN)/python tools/install.py install '$(DESTDIR)' '$(PREFIX)'
endif

uninstall:
	@$(PYTHON) tools/install.py uninstall '$(DESTDIR)' '$(PREFIX)'

# The package for the Debian that this is; it wants debian/control's Build-Depends installed, and fetches nothing.
deb: setup
	@$(BIN)/python tools/deb.py build

# RELEASE_ARGS='0.1.0 --dry-run': what a release does, but for the signature, the tag and dist/.
release: setup-test
	@$(BIN)/python tools/release.py $(RELEASE_ARGS)

# docs/ as a site in build/site; mkdocs comes from the package index, once.
docs:
	@[ -x build/docs/bin/mkdocs ] || { $(PYTHON) -m venv build/docs && build/docs/bin/pip install -q 'mkdocs>=1.6,<2'; }
	@build/docs/bin/mkdocs build -q && echo 'build/site/index.html'

# On clean roots of Debian 12 and 13, which it makes once with mmdebstrap; some ten minutes.
test-packaging: setup-all
	@$(BIN)/python tests/packaging/run.py $(PACKAGING_ARGS)

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .stamps $(VENV)
	rm -rf $(BUNDLES:%=bundles/%/rootfs) pyrunc/machine/pyrunc-init pyrunc/config/schema/_validator.py
	find pyrunc tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
