# The operator alone: no simulator, no tests, no build tools. Two stages, so that pip's caches stay behind.
#   docker build -t spotcompute-operator:0.1.0 .
# A tag can be given to other bytes; to build from those you have looked at, name them:
#   docker buildx imagetools inspect python:3.11.14-slim-bookworm
#   docker build --build-arg PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:… -t spotcompute-operator:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements.run.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-compile --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes \
      -r requirements.run.lock \
 && /venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
COPY --from=dependencies /venv /venv
COPY operator/spotcompute /app/spotcompute
# The root file system is read-only in the cluster: no bytecode is written at run time, so it is compiled here. By hash:
# else each file's time of checkout would stand in it, and no two builds would be alike.
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app /venv/lib
# A library asks for a home directory as soon as it is imported, and the user below has none; not every runtime makes one up.
ENV HOME=/nonexistent PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/venv/bin/python", "-m", "spotcompute"]
CMD ["run"]
