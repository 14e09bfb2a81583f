# syntax=docker/dockerfile:1
# The server as an image, for a card or for the CPU. No models are inside but the small demo ones that belong to the
# package; mount a folder with yours at /data (compose.yaml shows how).
#
#   docker build --target cpu  --tag wyoming-superwhisper:cpu .
#   docker build --target cuda --tag wyoming-superwhisper:cuda --build-arg CUDA_ARCHITECTURES=86 .
#
# CUDA_ARCHITECTURES names the cards that llama.cpp is compiled for: 86 is an RTX 3090, 89 an RTX 4090, "75;86" both
# a Turing and an Ampere card; "nvidia-smi --query-gpu=compute_cap --format=csv" says which yours is.

ARG CUDA_VERSION=12.8.1
ARG UBUNTU_VERSION=24.04

# --- what both are built from ----------------------------------------------------------------------------------------

FROM ubuntu:${UBUNTU_VERSION} AS build-cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential=12.* cmake=3.* ninja-build=1.* python3-dev=3.12.* python3-venv=3.12.* \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/superwhisper
ENV PATH=/opt/superwhisper/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1

# The two that take long come first, each in a layer of its own: a change of ours doesn't build them again.
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --extra-index-url "${TORCH_INDEX_URL}" "torch==${TORCH_VERSION}"
ARG LLAMA_CPP_PYTHON_VERSION=0.3.36
# GGML_NATIVE would compile for the processor of the machine that builds, and crash on an older one.
RUN CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" \
    pip install --no-cache-dir --no-binary llama-cpp-python "llama-cpp-python==${LLAMA_CPP_PYTHON_VERSION}"
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir "wyoming-superwhisper[server] @ file:///src"

FROM nvidia/cuda:${CUDA_VERSION}-devel-ubuntu${UBUNTU_VERSION} AS build-cuda
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential=12.* cmake=3.* ninja-build=1.* python3-dev=3.12.* python3-venv=3.12.* \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/superwhisper
ENV PATH=/opt/superwhisper/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1

ARG TORCH_VERSION=2.13.0
ARG TORCH_CUDA_INDEX_URL=https://download.pytorch.org/whl/cu128
RUN pip install --no-cache-dir --extra-index-url "${TORCH_CUDA_INDEX_URL}" "torch==${TORCH_VERSION}"
ARG LLAMA_CPP_PYTHON_VERSION=0.3.36
ARG CUDA_ARCHITECTURES=86
# No driver is there while an image is built: its stub stands in for it when llama.cpp is linked.
RUN ln -s libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1 \
    && CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}" \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
    pip install --no-cache-dir --no-binary llama-cpp-python "llama-cpp-python==${LLAMA_CPP_PYTHON_VERSION}"
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir "wyoming-superwhisper[server] @ file:///src"

# --- what runs -------------------------------------------------------------------------------------------------------

FROM ubuntu:${UBUNTU_VERSION} AS cpu
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=14.* python3=3.12.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10300 --user-group --home-dir /data --create-home superwhisper
COPY --from=build-cpu /opt/superwhisper /opt/superwhisper
ENV PATH=/opt/superwhisper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/data/state \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/tmp/cache \
    WYOMING_SUPERWHISPER_MODELS_DIR=/data/models
USER 10300:10300
WORKDIR /data
VOLUME /data
EXPOSE 10300 10301
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s --retries=3 CMD ["wyoming-superwhisper", "health"]
ENTRYPOINT ["wyoming-superwhisper"]
CMD ["serve"]

FROM nvidia/cuda:${CUDA_VERSION}-runtime-ubuntu${UBUNTU_VERSION} AS cuda
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=14.* python3=3.12.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10300 --user-group --home-dir /data --create-home superwhisper
COPY --from=build-cuda /opt/superwhisper /opt/superwhisper
ENV PATH=/opt/superwhisper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/data/state \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/tmp/cache \
    WYOMING_SUPERWHISPER_MODELS_DIR=/data/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10300:10300
WORKDIR /data
VOLUME /data
EXPOSE 10300 10301
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s --retries=3 CMD ["wyoming-superwhisper", "health"]
ENTRYPOINT ["wyoming-superwhisper"]
CMD ["serve"]
