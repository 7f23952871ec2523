# cohortpose with the versions of locks/. Not built where it was written: linted only.
#
#   docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t cohortpose .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" cohortpose \
#       snakemake --snakefile /opt/cohortpose/workflow/Snakefile --cores 8 --configfile config.yaml
#
# With GPUs add `--gpus all`; PyTorch's wheels bring CUDA, the host brings the driver.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY locks locks
COPY pyproject.toml README.md LICENSE ./
COPY pipeline_lib pipeline_lib
RUN python -m venv /opt/environment \
    && /opt/environment/bin/pip install --no-cache-dir --no-deps -r locks/torch.txt -r locks/run.txt \
    && /opt/environment/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
# opencv-python looks for libGL; opencv-python-headless, the same module without windows, would not.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/environment /opt/environment
COPY Snakefile /opt/cohortpose/Snakefile
COPY workflow /opt/cohortpose/workflow
COPY config /opt/cohortpose/config
ARG COMMIT=""
# Snakemake and libraries keep caches at home and ask for the user's name; an unknown user has none.
ENV PATH=/opt/environment/bin:$PATH \
    COHORTPOSE_COMMIT=$COMMIT \
    HOME=/tmp \
    USER=cohortpose
WORKDIR /data
USER 65534
CMD ["cohortpose", "--help"]
