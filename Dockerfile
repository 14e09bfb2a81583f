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

# --- what is built ---------------------------------------------------------------------------------------------------
# The two that take long come first, each in a layer of its own: a change of ours doesn't build them again.

FROM ubuntu:${UBUNTU_VERSION} AS build-cpu
COPY deploy/home-assistant-addon/wyoming_superwhisper/image-step /image-step
RUN bash /image-step compilers
ARG TORCH_VERSION
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN bash /image-step torch "${TORCH_INDEX_URL}"
ARG LLAMA_CPP_PYTHON_VERSION
RUN bash /image-step llama
COPY . /src
RUN bash /image-step package /src

FROM nvidia/cuda:${CUDA_VERSION}-devel-ubuntu${UBUNTU_VERSION} AS build-cuda
COPY deploy/home-assistant-addon/wyoming_superwhisper/image-step /image-step
RUN bash /image-step compilers
ARG TORCH_VERSION
ARG TORCH_CUDA_INDEX_URL=https://download.pytorch.org/whl/cu128
RUN bash /image-step torch "${TORCH_CUDA_INDEX_URL}"
ARG LLAMA_CPP_PYTHON_VERSION
ARG CUDA_ARCHITECTURES=86
# No driver is there while an image is built: its stub stands in for it when llama.cpp is linked.
RUN ln -s libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1 \
    && LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
    bash /image-step llama -DGGML_CUDA=on "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}"
COPY . /src
RUN bash /image-step package /src

# --- what runs -------------------------------------------------------------------------------------------------------

FROM ubuntu:${UBUNTU_VERSION} AS cpu
COPY deploy/home-assistant-addon/wyoming_superwhisper/image-step /image-step
RUN bash /image-step runtime --home-dir /data --create-home
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
COPY deploy/home-assistant-addon/wyoming_superwhisper/image-step /image-step
RUN bash /image-step runtime --home-dir /data --create-home
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
