# The operator alone: no simulator, no tests, no build tools. Two stages, so that pip's caches stay behind.
#   docker build -t spotcompute-operator:0.1.0 .
# The base has its tag for people and its digest for machines: of the index, so one for all architectures. What stands
# behind the tag today, and that this digest is a build of it:
#   docker buildx imagetools inspect python:3.11.17-slim-bookworm
#   docker buildx imagetools inspect python@sha256:0a310eeecf4e1f5a0743f9a6520c90c88d089c903ca5fd283f501e3a805f5f89
ARG PYTHON_IMAGE=python:3.11.17-slim-bookworm@sha256:0a310eeecf4e1f5a0743f9a6520c90c88d089c903ca5fd283f501e3a805f5f89
FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements.run.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-compile --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes \
      -r requirements.run.lock \
 && /venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
COPY --from=dependencies /venv /venv
COPY operator/spotcompute /app/spotcompute
# What the base brings to install more with is of no use here, and has vulnerabilities of its own.
# The root file system is read-only in the cluster: no bytecode is written at run time, so it is compiled here; that of
# the standard library too, which the base leaves out. By hash: else each file's time of checkout would stand in it, and no
# two builds would be alike. All of it (-f): pip has run, and what it loaded has bytecode of the other kind.
RUN stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && python -m pip uninstall --yes packaging pip setuptools wheel \
 && rm -r "$stdlib/ensurepip" \
 && /venv/bin/python -m compileall -q -f -x /tests/ --invalidation-mode unchecked-hash /app /venv/lib "$stdlib"
# A library asks for a home directory as soon as it is imported, and the user below has none; not every runtime makes one up.
ENV HOME=/nonexistent PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/venv/bin/python", "-m", "spotcompute"]
CMD ["run"]
