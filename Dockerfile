# The image holds the operator only: no simulator, no tests, no build tools. The first stage keeps pip's caches out of it.
#   docker build -t spotcompute-operator:0.1.0 .
# The base is named by its tag, for people, and by its digest, for machines. It is the digest of the index, so it serves every
# architecture. These show what the tag means today, and that the digest is a build of it:
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
# The image needs no installers, and they have vulnerabilities of their own: this removes those of the base.
# The root file system is read-only in the cluster, so no bytecode is written at run time. It is compiled here, that of the
# standard library too, which the base leaves out. It is compiled by hash: otherwise each file would hold the time of its
# checkout, and no two builds would be alike. -f compiles everything anew, because pip has left bytecode of the other kind.
RUN stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && python -m pip uninstall --yes packaging pip setuptools wheel \
 && rm -r "$stdlib/ensurepip" \
 && /venv/bin/python -m compileall -q -f -x /tests/ --invalidation-mode unchecked-hash /app /venv/lib "$stdlib"
# A library asks for a home directory when it is imported. The user below has none, and not every runtime sets one.
ENV HOME=/nonexistent PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/venv/bin/python", "-m", "spotcompute"]
CMD ["run"]
