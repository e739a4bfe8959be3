# What a release holds, into dist/. The workflows call the same targets. The Makefile includes them.
# PUBLISHED names the published image in chart and install manifest; without it the chart asks for one. URL is where the files
# will lie.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
EPOCH   := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
ARCHIVE := dist/spotcompute-operator-$(VERSION)-image.tar

.PHONY: release image checksums
release: $(READY) assets helm  ## build packages, image archive, chart, CRD, install manifest, plugin, SBOM and checksums into dist/
	rm -rf dist && mkdir dist
	$(BIN)/python deploy/release/build.py $(if $(PUBLISHED),--image '$(PUBLISHED)') $(if $(URL),--url '$(URL)')
	$(MAKE) --no-print-directory sbom
	@# Not $(MAKE), by which even a dry run would start a builder.
	@if docker buildx inspect --bootstrap >/dev/null 2>&1; then make --no-print-directory image; \
	 elif [ -n "$(CI_RELEASE)" ]; then echo "no builder answers: docker buildx inspect --bootstrap"; exit 1; \
	 else echo "The image archive is left out, because no builder answers (docker buildx). Everything else is in dist/."; fi
	$(MAKE) --no-print-directory checksums
	@ls -l dist

# Two builds of one commit on one base are the same: every file gets the commit's time. `docker load` takes the archive, and
# so do `skopeo copy oci-archive:…` and `crane push`.
image:  ## build the image for this machine's architecture into an OCI archive in dist/ (needs docker buildx)
	@mkdir -p dist
	SOURCE_DATE_EPOCH=$(EPOCH) docker buildx build --provenance=false \
	  --output type=oci,dest=$(ARCHIVE),name=spotcompute-operator:$(VERSION),rewrite-timestamp=true .

checksums: $(READY)
	$(BIN)/python deploy/release/build.py --checksums

.PHONY: version push push-chart
version:
	@echo $(VERSION)

# For the workflow of a release: REPOSITORY and REGISTRY are where it may write.
push:
	@mkdir -p .cache
	SOURCE_DATE_EPOCH=$(EPOCH) docker buildx build --platform linux/amd64,linux/arm64 --provenance=mode=max \
	  --metadata-file .cache/image.json --output type=registry,name=$(REPOSITORY):$(VERSION),rewrite-timestamp=true .
	@$(PYTHON) -c 'import json; print(json.load(open(".cache/image.json"))["containerimage.digest"])' > .cache/image-digest

push-chart: helm
	$$($(BIN)/python -m localcluster helm) push dist/spotcompute-operator-$(VERSION).tgz $(REGISTRY)
