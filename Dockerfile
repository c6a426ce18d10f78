# The environment of requirements.lock, with the project in /opt/quadrat:
#   docker build -t quadrat .
#   docker run --rm --user $(id -u):$(id -g) -v "$PWD":/study -w /study quadrat --cores 8 --configfile my.yaml
FROM python:3.11-slim-bookworm

COPY requirements.lock /opt/quadrat/
RUN pip install --no-cache-dir --require-hashes -r /opt/quadrat/requirements.lock
COPY Snakefile config.yaml /opt/quadrat/
COPY envs /opt/quadrat/envs
COPY examples/first_run /opt/quadrat/examples/first_run
COPY profiles /opt/quadrat/profiles
COPY scripts /opt/quadrat/scripts
COPY workflow /opt/quadrat/workflow

# Notebooks in the container find open_predictions; Snakemake keeps its caches where any user may write.
ENV PYTHONPATH=/opt/quadrat/scripts PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /study
ENTRYPOINT ["snakemake", "-s", "/opt/quadrat/Snakefile", "--workflow-profile", "/opt/quadrat/profiles/default"]
