# What a release holds, into dist/. The workflows call the same targets. The Makefile includes them.
# REPOSITORY is where the image will lie: chart and install manifest name it there, by its digest; without it the chart asks
# for an image. URL is where the files will lie, and SOURCE the address of this repository.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ARCHIVE := dist/spotcompute-operator-$(VERSION)-image.tar
DIGEST  := .cache/image-digest
LAYOUT  := .cache/image

.PHONY: release image checksums
release: $(READY) assets helm  ## build packages, image archive, chart, CRD, install manifest, plugin, SBOM and checksums into dist/
	rm -rf dist && mkdir dist
	$(MAKE) --no-print-directory image
	$(BIN)/python deploy/release/build.py $(if $(REPOSITORY),--image '$(REPOSITORY)' --digest $(DIGEST)) $(if $(URL),--url '$(URL)')
	$(MAKE) --no-print-directory sbom
	$(MAKE) --no-print-directory checksums
	@ls -l dist

# It needs Linux, and neither Docker nor a registry nor root. Two builds of one commit are the same, on every machine.
# `docker load`, `podman load`, `kind load image-archive` and `skopeo copy oci-archive:…` take the archive.
image: $(READY)  ## build the image for x86-64 and arm64 into an OCI archive in dist/, without Docker
	@$(BIN)/python deploy/image/build.py --out $(ARCHIVE) --digest $(DIGEST) $(if $(SOURCE),--source '$(SOURCE)')

checksums: $(READY)
	$(BIN)/python deploy/release/build.py --checksums

.PHONY: version image-lock try-image push push-chart actionlint
version:
	@echo $(VERSION)

image-lock: $(READY)  ## write the lock of the image's Debian packages anew, with the newest versions (on Debian 12)
	$(BIN)/python deploy/image/lock.py

# All tests of the image, the rare ones too. It fails where a user may not enter an image, instead of skipping them.
try-image: $(READY) assets  ## build the image for this machine, and run the operator in it
	IMAGE_IS_WANTED=1 $(BIN)/pytest -q -m "" tests/e2e/test_image.py

# `docker login` or `crane auth login` says who you are to the registry.
push: $(READY)  ## push the image archive of dist/ to REPOSITORY=registry.example.com/your-team/spotcompute-operator
	@test -n "$(REPOSITORY)" || { echo "say where to: make push REPOSITORY=registry.example.com/your-team/spotcompute-operator"; exit 1; }
	@test -e $(ARCHIVE) || { echo "there is no $(ARCHIVE): make image"; exit 1; }
	@rm -rf $(LAYOUT) && mkdir -p $(LAYOUT) && tar -xf $(ARCHIVE) -C $(LAYOUT)
	@$$($(BIN)/python -m localcluster tools crane) push $(LAYOUT) $(REPOSITORY):$(VERSION)

push-chart: helm
	$$($(BIN)/python -m localcluster helm) push dist/spotcompute-operator-$(VERSION).tgz $(REGISTRY)

actionlint: $(READY)  ## look for mistakes in the workflows
	@$$($(BIN)/python -m localcluster tools actionlint)
