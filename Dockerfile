# make image                 for CPUs
# make image DEVICE=cuda     for GPUs: the index's own build of torch brings CUDA
FROM python:3.11-slim-bookworm
ARG DEVICE=cpu
# make: README's commands; g++: the native kernels, compiled at first use; git: DVC. Debian keeps one version of each: a
# pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /muster
COPY requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock \
    && if [ "$DEVICE" = cpu ]; then index=https://download.pytorch.org/whl/cpu; else index=https://pypi.org/simple; fi \
    && pip install --no-cache-dir --index-url "$index" "$(sed -n 's/^ *"\(torch==[^"]*\)",/\1/p' pyproject.toml)"
COPY . .
RUN pip install --no-cache-dir --no-deps --editable .
CMD ["muster", "--help"]
