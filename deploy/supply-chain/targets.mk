# Targets about what the image is made of, and the lock files. The Makefile includes them.
# What the image holds, and nothing else: requirements.run.lock. The tools have an environment of their own.
SUPPLY   := .cache/supply-chain
IMAGE    := $(SUPPLY)/image
SBOM     := dist/sbom.cdx.json
LICENCES := Apache-2.0;Apache-2.0 OR BSD-3-Clause;Apache Software License;Apache-2.0 AND BSD-2-Clause;Apache-2.0 AND MIT;MIT;MIT License;MIT OR Apache-2.0;BSD License;BSD-2-Clause;BSD-3-Clause;Mozilla Public License 2.0 (MPL 2.0);PSF-2.0;Python Software Foundation License
$(SUPPLY)/.installed: deploy/supply-chain/requirements.lock requirements.run.lock
	$(PYTHON) -m venv $(SUPPLY)/tools
	$(SUPPLY)/tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/supply-chain/requirements.lock
	$(PYTHON) -m venv --without-pip $(IMAGE)
	$(SUPPLY)/tools/bin/pip --python $(IMAGE) install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.run.lock
	@touch $@

.PHONY: sbom audit licences lock
sbom: $(SUPPLY)/.installed  ## write the CycloneDX bill of materials of the image, Python's and Debian's packages, to dist/
	@mkdir -p dist
	@$(SUPPLY)/tools/bin/cyclonedx-py requirements requirements.run.lock --pyproject pyproject.toml --output-reproducible --spec-version 1.6 -o $(SBOM) 2>/dev/null
	@$(PYTHON) deploy/supply-chain/add_debian.py $(SBOM) deploy/image/debian.lock
	@$(PYTHON) deploy/supply-chain/check_sbom.py $(SBOM) requirements.run.lock deploy/image/debian.lock

audit: $(SUPPLY)/.installed  ## look for known vulnerabilities in the image's dependencies; fails when that cannot be asked
	$(SUPPLY)/tools/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.run.lock

licences: $(SUPPLY)/.installed  ## list the licences of the image's dependencies; fails on one that is not allowed
	@$(SUPPLY)/tools/bin/pip-licenses --python $(IMAGE)/bin/python --allow-only='$(LICENCES)'

# What is locked stays as it is unless pyproject.toml or an .in file asks for something else; -U of uv upgrades.
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-header
lock: $(READY)  ## write the lock files anew, from pyproject.toml and the .in files (UPGRADE=-U: with the newest versions)
	$(COMPILE) $(UPGRADE) pyproject.toml --extra dev --extra ui --universal --python-version 3.11 -o requirements.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --no-annotate -o requirements.run.lock
	$(COMPILE) $(UPGRADE) benchmarks/requirements.in -c requirements.lock --universal --python-version 3.11 -o benchmarks/requirements.lock
	$(COMPILE) $(UPGRADE) docs/requirements.in --universal --python-version 3.11 -o docs/requirements.lock
	$(COMPILE) $(UPGRADE) deploy/supply-chain/requirements.in --universal --python-version 3.11 -o deploy/supply-chain/requirements.lock
	$(COMPILE) $(UPGRADE) tests/mutation/requirements.in --universal --python-version 3.11 -o tests/mutation/requirements.lock
