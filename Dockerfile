# The operator alone: no simulator, no tests, no build tools. Two stages, so that pip's caches stay behind.
#   docker build -t spotcompute-operator:0.1.0 .
FROM python:3.11.14-slim-bookworm AS dependencies
COPY requirements.run.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes \
      -r requirements.run.lock \
 && /venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm
COPY --from=dependencies /venv /venv
COPY operator/spotcompute /app/spotcompute
# The root file system is read-only in the cluster: no bytecode is written at run time, so it is compiled here.
RUN /venv/bin/python -m compileall -q /app /venv/lib
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/venv/bin/python", "-m", "spotcompute"]
CMD ["run"]
