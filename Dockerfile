# The environment of envs/run.lock, with the project in /opt/quadrat:
#   docker build -t quadrat .
#   docker run --rm --user $(id -u):$(id -g) -v "$PWD":/study -w /study quadrat --cores 8 --configfile my.yaml
# The index for all platforms; a new digest is a reviewed change: docker buildx imagetools inspect python:3.11-slim-bookworm
ARG BASE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${BASE}

COPY LICENSE Snakefile config.yaml pyproject.toml /opt/quadrat/
COPY docs/package.md /opt/quadrat/docs/package.md
COPY envs /opt/quadrat/envs
COPY examples/first_run /opt/quadrat/examples/first_run
COPY profiles /opt/quadrat/profiles
COPY scripts /opt/quadrat/scripts
COPY workflow /opt/quadrat/workflow
# Nobody may write there later, so what Python compiles is written now.
RUN PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 python /opt/quadrat/envs/install.py

# Snakemake keeps its caches where any user may write, and asks for a name that a user of --user does not have.
ENV PATH=/opt/quadrat/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp USER=quadrat
WORKDIR /study
ENTRYPOINT ["snakemake", "-s", "/opt/quadrat/Snakefile", "--workflow-profile", "/opt/quadrat/profiles/default"]
